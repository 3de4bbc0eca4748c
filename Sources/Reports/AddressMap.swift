import IOMMUModel
import Investigation
import PageTables

/// The IOVAs of each table: what leads where it should, and what does not.
struct AddressMap {
  /// What becomes of an access, worst last.
  enum Fate: Int, CaseIterable, Comparable {
    /// It reaches what it should.
    case mapped
    /// The tables lead there, and the device refuses.
    case refused
    /// It was unmapped, and still leads somewhere.
    case stale
    /// It leads elsewhere: mostly to what another IOVA shares the entry with.
    case elsewhere
    /// It leads nowhere.
    case missing

    static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
  }

  /// Consecutive addresses with one fate.
  struct Stretch {
    /// The first byte and the last.
    let first: UInt64, last: UInt64
    let fate: Fate
    /// The first IOVA of the call that has the entries now; nil when they are nobody else's, or it is not known whose.
    let taker: UInt64?

    var pages: UInt64 { (last &- first) / 4096 &+ 1 }
  }

  /// Stretches that are close to each other.
  struct Area {
    var stretches: [Stretch]

    var first: UInt64 { stretches.first?.first ?? 0 }
    var last: UInt64 { stretches.map(\.last).max() ?? 0 }
    var pages: [Fate: UInt64] { stretches.reduce(into: [:]) { $0[$1.fate, default: 0] &+= $1.pages } }
    var wrongPages: UInt64 { pages.reduce(0) { $1.key == .mapped ? $0 : $0 &+ $1.value } }
  }

  /// The addresses of one table.
  struct Table {
    /// The table; nil when it is not known.
    let root: TableRoot?
    /// The devices that use it, as far as calls tell.
    let devices: [RequesterID]
    /// By address.
    let stretches: [Stretch]
    /// The last address of the picture: 4 GiB, or as much as is used.
    let last: UInt64
    /// What lies together.
    let areas: [Area]
  }

  /// The tables, those with most wrong pages first.
  let tables: [Table]

  /// What `check` found.
  init(_ check: CrossCheck) {
    let mapped = check.lines.lazy.filter { $0.call.call.isMap }
    let starts = Dictionary(mapped.map { ($0.call.number, $0.call.call.iova.rawValue) }) { first, _ in first }
    var lines: [TableRoot?: [CrossCheck.Line]] = [:]
    for line in check.lines where line.length > 0 { lines[line.call.root, default: []].append(line) }
    let tables = lines.map { root, lines in
      Table(root: root, devices: Set(lines.compactMap(\.call.requester)).sorted(), lines: lines, starts: starts)
    }
    self.tables = tables.sorted {
      ($1.wrongPages, $0.root?.address.rawValue ?? .max) < ($0.wrongPages, $1.root?.address.rawValue ?? .max)
    }
  }
}

extension AddressMap.Table {
  /// The addresses that `lines` are about; `starts` are those of map calls by their number.
  fileprivate init(root: TableRoot?, devices: [RequesterID], lines: [CrossCheck.Line], starts: [Int: UInt64]) {
    (self.root, self.devices) = (root, devices)
    var stretches: [AddressMap.Stretch] = []
    for line in lines.sorted(by: { $0.iova < $1.iova }) {
      let (end, overflow) = line.iova.rawValue.addingReportingOverflow(line.length &- 1)
      var taker: UInt64?
      if case .overwritten(_, let number) = line.tables { taker = starts[number] }
      let next = AddressMap.Stretch(
        first: line.iova.rawValue, last: overflow ? .max : end, fate: AddressMap.Fate(line), taker: taker)
      if let before = stretches.last, before.fate == next.fate, before.last &+ 1 == next.first {
        stretches[stretches.count - 1] = AddressMap.Stretch(
          first: before.first, last: next.last, fate: next.fate, taker: before.taker ?? next.taker)
      } else {
        stretches.append(next)
      }
    }
    self.stretches = stretches
    let used = stretches.map(\.last).max() ?? 0
    last = used < 1 << 32 ? (1 << 32) - 1 : .max >> UInt64(used.leadingZeroBitCount)
    var areas: [AddressMap.Area] = []
    for stretch in stretches {
      if let before = areas.last?.stretches.last, stretch.first &- before.last <= last / 256 {
        areas[areas.count - 1].stretches.append(stretch)
      } else {
        areas.append(AddressMap.Area(stretches: [stretch]))
      }
    }
    self.areas = areas
  }

  /// Pages that are not as they should be.
  var wrongPages: UInt64 { areas.reduce(0) { $0 &+ $1.wrongPages } }
}

extension AddressMap.Fate {
  /// What a comparison says of a range.
  fileprivate init(_ line: CrossCheck.Line) {
    self =
      switch line.worst {
      case .agrees: .mapped
      case .missing, .malformed, .unreadable: .missing
      case .wrongAddress, .overwritten, .bypassed, .otherTable: .elsewhere
      case .staleAfterUnmap: .stale
      case .wrongPermission, .latchedFault, .notAttached, .deviceDiffers: .refused
      }
  }
}
