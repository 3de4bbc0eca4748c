// What the device does, written a second time: as the list of steps that its sources go through, in plain arithmetic and
// with none of the product's types.

struct DeviceOracle {
  enum End: Equatable {
    case passed
    case success(UInt64)
    case failure
    case abort
    case unreadable(UInt64)
  }

  struct Answer: Equatable {
    var end: End
    var cause: UInt64
    /// The words read, in order: the device table, the descriptor, the page tables.
    var reads: [UInt64] = []
  }

  /// 8 bytes at an address; nil where nothing can be read.
  let word: (UInt64) -> UInt64?
  var enabled = true
  var divide: UInt64 = 0
  var base: UInt64 = 0
  /// Latched before.
  var cause: UInt64 = 0

  /// Levels, entries of a table, bytes from one entry to the next.
  static let modes: [UInt64: (levels: Int, entries: UInt64, stride: UInt64)] = [
    1: (2, 1024, 4), 8: (3, 512, 8), 9: (4, 512, 8), 10: (5, 512, 8),
  ]

  static func power(_ base: UInt64, _ exponent: Int) -> UInt64 { (0..<exponent).reduce(1) { power, _ in power * base } }

  func access(_ address: UInt64, flag: UInt64, rsid: UInt64) -> Answer {
    var answer = Answer(end: .passed, cause: cause)

    // 1. Disabled: the address passes through.
    if !enabled { return answer }

    // 2. Find the entry.
    var at = base &+ rsid * 8
    var mayBeMissing = false
    if divide != 0 {
      // More than 16 bits of a 16-bit id are all of it.
      let split = Self.power(2, divide > 16 ? 16 : Int(divide))
      at = base &+ rsid / split * 8
      guard let upper = word(at) else { return answer.ended(.unreadable(at)) }
      answer.reads.append(at)
      if upper % 8 != 0 { answer.cause = 1 }
      mayBeMissing = upper == 0
      at = upper &+ rsid % split * 8
    }
    var entry: UInt64 = 0
    if let found = word(at) {
      entry = found
      answer.reads.append(at)
    } else if !mayBeMissing {
      return answer.ended(.unreadable(at))
    }

    // 3. and 4. V, S, which is not implemented, and F.
    if entry % 2 == 0 { return answer }
    if entry / 2 % 2 == 1 { return answer.ended(.abort) }
    if entry / 4 % 2 == 0 { return answer }

    // 5. The walk.
    let descriptor = entry / 8 * 8
    guard let stage = word(descriptor) else { return answer.ended(.unreadable(descriptor)) }
    answer.reads.append(descriptor)
    let number = stage / Self.power(2, 60)
    if number == 0 { return answer.ended(address == 0 ? .failure : .success(address)) }
    guard let mode = Self.modes[number] else { return answer.ended(.abort) }
    var table = stage % Self.power(2, 44) * 4096
    var success: UInt64?
    for level in (0..<mode.levels).reversed() {
      let pages = Self.power(mode.entries, level)
      at = table &+ address / 4096 / pages % mode.entries * mode.stride
      guard let pte = word(at) else { return answer.ended(.unreadable(at)) }
      answer.reads.append(at)
      let (valid, read, write, execute) = (pte % 2 == 1, pte / 2 % 2 == 1, pte / 4 % 2 == 1, pte / 8 % 2 == 1)
      let page = pte / 1024 % Self.power(2, 44)
      if !valid {
        answer.cause = 16
      } else if !read && !write && !execute {
        table = page * 4096
      } else if write && !read {
        answer.cause = 14
      } else if page % pages != 0 {
        answer.cause = 17
      } else if flag % 2 == 1 && !read {
        answer.cause = 13
      } else if flag / 2 == 1 && !write {
        answer.cause = 15
      } else {
        success = (page + address / 4096 % pages) * 4096 + address % 4096
      }
      if answer.cause != 0 { break }
    }
    return answer.ended(success.map { .success($0) } ?? .failure)
  }
}

extension DeviceOracle.Answer {
  fileprivate func ended(_ end: DeviceOracle.End) -> Self {
    var answer = self
    answer.end = end
    return answer
  }
}
