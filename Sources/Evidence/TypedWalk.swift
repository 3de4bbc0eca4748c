import PageTables

/// A line in which somebody wrote down how a walk of a page ended that was mapped: `iova 0x… mapped to 0x… (pgsize 4096
/// pgcount 1): device walk -> 0x…`, or `-> invalid at shift 30 index 3`.
struct TypedWalk {
  /// How it ended.
  enum End: Hashable {
    /// At this address.
    case target(GPA)
    /// At an entry that is not valid: what its index is taken with, and the index.
    case invalid(shift: UInt64, index: UInt64)
  }

  /// The page's IOVA, and where the call that mapped it wants it.
  let iova: IOVA, asked: GPA
  /// The call's `pgsize` and `pgcount`.
  let size: UInt64, count: UInt64
  /// The end; nil for one that is not known here.
  let end: End?

  /// Reads a line; nil for one that tells of no walk.
  init?(_ line: ArraySlice<UInt8>) {
    var scanner = Scanner(line.prefix(512))
    guard scanner.take("iova "), let iova = scanner.number(), scanner.take(" mapped to "),
      let asked = scanner.number(), scanner.take(" (pgsize "), let size = scanner.number(),
      scanner.take(" pgcount "), let count = scanner.number(), scanner.take("): device walk -> ")
    else { return nil }
    (self.iova, self.asked, self.size, self.count) = (IOVA(iova), GPA(asked), size, count)
    if let target = scanner.number(), scanner.isAtWordEnd {
      end = .target(GPA(target))
    } else if scanner.take("invalid at shift "), let shift = scanner.number(), scanner.take(" index "),
      let index = scanner.number(), scanner.isAtWordEnd
    {
      end = .invalid(shift: shift, index: index)
    } else {
      end = nil
    }
  }

  /// The bytes of the call; nil when they are none that can be mapped.
  var length: UInt64? {
    let (bytes, overflow) = size.multipliedReportingOverflow(by: count)
    return overflow || bytes == 0 || bytes & 0xfff != 0 ? nil : bytes
  }

  /// Whether `other` is the last page of the call whose first page this one is.
  func isFirst(of other: TypedWalk) -> Bool {
    guard let length, (size, count) == (other.size, other.count), length > 0x1000 else { return false }
    return other.iova.rawValue == iova.rawValue &+ (length - 0x1000)
      && other.asked.rawValue == asked.rawValue &+ (length - 0x1000)
  }
}
