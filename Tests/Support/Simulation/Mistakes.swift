extension SimulatedDriver {
  /// What a driver can do wrong beside taking an index with another shift.
  package struct Mistakes: Sendable {
    /// How `iommu_prot` ends up in a leaf.
    package enum Flags: String, Sendable, CaseIterable {
      case right, exchanged, writeLost, readLost, bothLost, alwaysWritable, alwaysReadOnly, validLost, writeAlone
    }

    /// How much of its range a call works on.
    package enum Part: String, Sendable, CaseIterable {
      case all, nothing, countIgnored, sizeIgnored, firstPage

      func bytes(size: UInt64, count: UInt64) -> UInt64 {
        switch self {
        case .all: size &* count
        case .nothing: 0
        case .countIgnored: size
        case .sizeIgnored: count &* 4096
        case .firstPage: min(4096, size &* count)
        }
      }
    }

    /// The page number in a leaf: the bits that are kept, then shifted (to the left for a positive number), then moved.
    package var pageBits = UInt64.max, pageShift = 0, pageDistance: Int64 = 0
    /// The leaf's flags.
    package var flags = Flags.right
    /// What map writes and unmap clears of a range.
    package var mapped = Part.all, cleared = Part.all
    /// Unmap clears the entries of pages this many bytes further on.
    package var clearsAtDistance: Int64 = 0
    /// Everything goes into the table of the domain that was made first.
    package var usesFirstDomain = false
    /// 2 MiB at a 2 MiB boundary become one leaf at level 1, which is no mistake by the specification.
    package var makesHugeLeaves = false

    package init() {}

    package static let none = Mistakes()
    /// Unmap leaves the entry.
    package static let forgetsToClear = with { $0.cleared = .nothing }
    /// See ``makesHugeLeaves``.
    package static let hugeLeaves = with { $0.makesHugeLeaves = true }
    /// WRITE is not written.
    package static let losesWrite = with { $0.flags = .writeLost }
    /// Nothing is written.
    package static let losesEntries = with { $0.mapped = .nothing }
    /// The leaf points to the next page.
    package static let offByOnePage = with { $0.pageDistance = 1 }

    /// No mistake but what `change` makes.
    package static func with(_ change: (inout Mistakes) -> Void) -> Mistakes {
      var mistakes = Mistakes()
      change(&mistakes)
      return mistakes
    }

    func pageNumber(_ page: UInt64) -> UInt64 {
      let kept = page & pageBits
      let shifted = pageShift >= 0 ? kept << UInt64(pageShift) : kept >> UInt64(-pageShift)
      return (shifted &+ UInt64(bitPattern: pageDistance)) & (1 << 54 - 1)
    }

    /// V 1, R 2, W 4, as `xt_iommu_map` sets them: WRITE brings R along.
    func flags(prot: UInt32) -> UInt64 {
      func leaf(read: Bool, write: Bool) -> UInt64 { 1 | (read || write ? 2 : 0) | (write ? 4 : 0) }
      let (read, write) = (prot & 1 != 0, prot & 2 != 0)
      return switch flags {
      case .right: leaf(read: read, write: write)
      case .exchanged: leaf(read: write, write: read)
      case .writeLost: leaf(read: read, write: false)
      case .readLost: leaf(read: false, write: write)
      case .bothLost: 1
      case .alwaysWritable: 7
      case .alwaysReadOnly: 3
      case .validLost: leaf(read: read, write: write) & ~1
      case .writeAlone: 1 | (read ? 2 : 0) | (write ? 4 : 0)
      }
    }
  }
}
