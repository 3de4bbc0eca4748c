// The device written a second time, from the specification's list of steps and from the functions of QEMU's source, in plain
// arithmetic and with none of the product's types.

struct Oracle {
  enum End: Equatable {
    case passed
    case to(UInt64)
    case cause(Int)
    case unreadable
    /// What neither source tells.
    case unknown
  }

  struct Asked {
    var id: UInt64
    var process: UInt64?
    var isPrivileged = false
    var address: UInt64
    var reads = false, writes = false, executes = false
  }

  private struct Ended: Error { let end: End }

  /// 8 bytes, and 4, at an address; nil where nothing can be read.
  let word: (UInt64) -> UInt64?
  let half: (UInt64) -> UInt64?
  var isQEMU = false
  var capabilities: UInt64
  var features: UInt64
  var ddtp: UInt64

  /// 2^`exponent`, modulo 2^64.
  static func power(_ exponent: UInt64) -> UInt64 { exponent < 64 ? powers[Int(exponent)] : 0 }
  private static let powers: [UInt64] = (1..<64).reduce(into: [1]) { powers, _ in powers.append((powers.last ?? 0) * 2)
  }
  /// Bits `high` to `low`.
  static func bits(_ value: UInt64, _ high: UInt64, _ low: UInt64) -> UInt64 {
    let shifted = value / power(low)
    return high - low == 63 ? shifted : shifted % power(high - low + 1)
  }
  static func bit(_ value: UInt64, _ position: UInt64) -> Bool { bits(value, position, position) == 1 }
  func can(_ position: UInt64) -> Bool { Self.bit(capabilities, position) }

  private func read(_ address: UInt64, cause: Int) throws(Ended) -> UInt64 {
    let width = Self.bits(capabilities, 37, 32)
    if address >= Self.power(width) && width < 64 { throw Ended(end: .cause(cause)) }
    guard let value = word(address) else { throw Ended(end: .unreadable) }
    return value
  }

  func access(_ asked: Asked) -> End {
    do throws(Ended) { return try steps(asked) } catch { return error.end }
  }

  private func steps(_ asked: Asked) throws(Ended) -> End {
    typealias O = Oracle
    let isBig = O.bit(features, 0) && !isQEMU
    switch ddtp % 16 {
    case 0: return .cause(256)
    case 1: return .passed
    case 2, 3, 4: break
    default: return .cause(259)
    }
    let levels = Int(ddtp % 16) - 1
    let isLong = can(22)
    let low: UInt64 = isLong ? 6 : 7
    let widths: [UInt64] = [low, low + 9, 24]
    if asked.id >= O.power(widths[levels - 1]) { return .cause(260) }
    var table = O.bits(ddtp, 53, 10) * 4096
    let cuts: [UInt64] = [0, low, low + 9, 24]
    for level in (1..<3).reversed() where level < levels {
      let entry = swap(
        try read(table + O.bits(asked.id, cuts[level + 1] - 1, cuts[level]) * 8, cause: 257), isBig)
      if entry % 2 == 0 { return .cause(258) }
      if O.bits(entry, 9, 1) != 0 || O.bits(entry, 63, 54) != 0 { return .cause(259) }
      table = O.bits(entry, 53, 10) * 4096
    }
    let size: UInt64 = isLong ? 8 : 4
    table += O.bits(asked.id, low - 1, 0) * size * 8
    var dc: [UInt64] = []
    for index in 0..<size {
      dc.append(swap(try read(table + index * 8, cause: 257), isBig))
      if dc[0] % 2 == 0 { return .cause(258) }
    }
    dc += Array(repeating: 0, count: 8 - dc.count)
    let (control, iohgatp, ta, fsc) = (dc[0], dc[1], dc[2], dc[3])
    func tc(_ position: UInt64) -> Bool { O.bit(control, position) }
    let (gmode, smode) = (O.bits(iohgatp, 63, 60), O.bits(fsc, 63, 60))
    let isDirectory = tc(5)

    // The checks of a device context.
    var isWrong = false
    if !isQEMU {
      isWrong = isWrong || O.bits(control, 23, 12) != 0 || O.bits(control, 63, 32) != 0
      isWrong = isWrong || O.bits(ta, 11, 0) != 0 || O.bits(ta, 39, 32) != 0
      if !can(41) { isWrong = isWrong || O.bits(ta, 63, 40) != 0 }
      isWrong = isWrong || O.bits(fsc, 59, 44) != 0
      if isLong {
        isWrong = isWrong || O.bits(dc[4], 59, 44) != 0 || O.bits(dc[5], 63, 52) != 0 || O.bits(dc[6], 63, 52) != 0
        isWrong = isWrong || dc[7] != 0
      }
      isWrong = isWrong || (!can(24) && (tc(7) || tc(8)))
      if gmode != 0 { isWrong = isWrong || iohgatp % 4 != 0 }
    }
    if isLong { isWrong = isWrong || O.bits(dc[4], 63, 60) > 1 }
    if !can(25) { isWrong = isWrong || tc(1) || tc(2) || tc(6) }
    if !tc(1) { isWrong = isWrong || tc(2) || tc(3) }
    if !tc(2) { isWrong = isWrong || tc(6) }
    if tc(3) { isWrong = isWrong || !can(26) || gmode == 0 }
    if !isDirectory { isWrong = isWrong || tc(9) }
    if isQEMU { isWrong = isWrong || tc(10) } else if !can(27) { isWrong = isWrong || tc(10) != isBig }
    if O.bit(features, 2) { isWrong = isWrong || !tc(11) }
    func firstModeIsWrong(_ mode: UInt64) -> Bool {
      switch (tc(11), mode) {
      case (_, 0): false
      case (true, 8): !can(8)
      case (false, 8): !can(9)
      case (false, 9): !can(10)
      case (false, 10): !can(11)
      default: true
      }
    }
    var isBeyond = false
    if isDirectory {
      if isQEMU && smode > 3 {
        if tc(9) { return .cause(267) }
      } else if smode != 0 {
        isWrong = isWrong || smode > 3 || !can(37 + smode)
      }
    } else if firstModeIsWrong(smode) {
      isWrong = true
      isBeyond = isQEMU && smode > 10
    }
    if gmode != 0 {
      if O.bit(features, 2) {
        isWrong = isWrong || gmode != 8 || !can(16)
      } else {
        isWrong = isWrong || gmode < 8 || gmode > 10 || !can(9 + gmode)
      }
    }
    if isWrong { return .cause(isBeyond ? 258 : 259) }

    // The kind of access.
    if isQEMU && !asked.reads && !asked.writes && !asked.executes && !tc(1) { return .cause(260) }
    if let process = asked.process {
      if !isDirectory { return .cause(260) }
      let width: [UInt64] = [64, 8, 17, 20]
      if smode < 4, smode > 0, process >= O.power(width[Int(smode)]) { return .cause(260) }
    }
    if O.bit(features, 2) && gmode != 0 { return .unknown }
    var second: Table?
    if gmode != 0 {
      second = Table(
        levels: Int(gmode) - 5, isWide: true, isSmall: false, root: O.bits(iohgatp, 43, 0) * 4096, isBig: isBig,
        updates: tc(7), user: true)
    }
    var first: Table?
    func tables(_ fsc: UInt64, user: Bool?, isMixed: Bool) -> Table? {
      let mode = O.bits(fsc, 63, 60)
      if mode == 0 { return nil }
      return Table(
        levels: tc(11) ? 2 : Int(mode) - 5, isWide: false, isSmall: tc(11), root: O.bits(fsc, 43, 0) * 4096,
        isBig: tc(10), updates: tc(8), user: user, isMixed: isMixed)
    }
    if !isDirectory {
      first = tables(fsc, user: true, isMixed: false)
    } else if let process = asked.process ?? (tc(9) ? 0 : nil), smode != 0 {
      var place = O.bits(fsc, 43, 0) * 4096
      func real(_ place: UInt64) throws(Ended) -> UInt64 {
        guard let second, !isQEMU else { return place }
        return try walk(second, nil, place, (true, false, false), asked).address
      }
      for level in (1..<3).reversed() where level < Int(smode) {
        let start = try real(place)
        let index = level == 2 ? O.bits(process, 19, 17) : O.bits(process, 16, 8)
        let entry = swap(try read(start + index * 8, cause: 265), tc(10))
        if entry % 2 == 0 { return .cause(266) }
        if !isQEMU, O.bits(entry, 9, 1) != 0 || O.bits(entry, 63, 54) != 0 { return .cause(267) }
        place = O.bits(entry, 53, 10) * 4096
      }
      let start = try real(place) + O.bits(process, 7, 0) * 16
      let pta = swap(try read(start, cause: 265), tc(10))
      if pta % 2 == 0 { return .cause(266) }
      let pfsc = swap(try read(start + 8, cause: 265), tc(10))
      if O.bits(pta, 11, 3) != 0 || O.bits(pta, 63, 32) != 0 || O.bits(pfsc, 59, 44) != 0 { return .cause(267) }
      if firstModeIsWrong(O.bits(pfsc, 63, 60)) { return .cause(267) }
      if asked.isPrivileged && !O.bit(pta, 1) { return .cause(260) }
      first = tables(pfsc, user: !asked.isPrivileged, isMixed: asked.isPrivileged && O.bit(pta, 2))
    }

    // The two stages.
    var wants = (reads: asked.reads, writes: asked.writes, executes: asked.executes)
    var guest = asked.address
    if let first {
      let leaf = try walk(first, second, guest, wants, asked)
      guest = leaf.address
      if isQEMU {
        wants = (reads: leaf.reads || !leaf.writes, writes: leaf.writes, executes: false)
      }
    }
    let types = [wants.executes, wants.writes]
    func typed(_ causes: [Int]) -> Int { types[0] ? causes[0] : types[1] ? causes[2] : causes[1] }
    if isLong && O.bits(dc[4], 63, 60) == 1 && (!isQEMU || wants.writes) {
      var (isFile, number, place) = (true, UInt64(0), UInt64(0))
      for position in 0..<52 as Range<UInt64> {
        let own = O.bit(guest, position + 12)
        if O.bit(dc[5], position) {
          if own { number += O.power(place) }
          place += 1
        } else if own != O.bit(dc[6], position) {
          isFile = false
        }
      }
      if isFile {
        if isQEMU && number > 255 { return .cause(261) }
        // `m | (I x 16)`: the table may be longer than its alignment.
        let start = (O.bits(dc[4], 43, 0) * 4096) | (number &* 16)
        let entry = swap(try read(start, cause: 261), isBig)
        let other = swap(try read(start + 8, cause: 261), isBig)
        if entry % 2 == 0 { return .cause(262) }
        if O.bit(entry, 63) { return isQEMU ? .cause(262) : .unreadable }
        switch O.bits(entry, 2, 1) {
        case 3:
          if !isQEMU, O.bits(entry, 9, 3) != 0 || O.bits(entry, 62, 54) != 0 { return .cause(263) }
          if wants.executes { return .cause(1) }
          return .to(O.bits(entry, 53, 10) * 4096 + guest % 4096)
        case 1:
          let isClean =
            O.bits(entry, 6, 3) == 0 && O.bits(entry, 62, 54) == 0 && O.bits(other, 63, 61) == 0
            && O.bits(other, 59, 54) == 0
          if !isQEMU, !can(23) || !isClean { return .cause(263) }
          if wants.executes { return .cause(1) }
          return .to(O.bits(entry, 53, 7) * 512)
        default: return .cause(263)
        }
      }
    }
    guard let second else { return first == nil ? .passed : .to(guest) }
    if tc(11) && guest >= O.power(34) && !isQEMU { return .cause(typed([20, 21, 23])) }
    return .to(try walk(second, nil, guest, wants, asked).address)
  }

  private func swap(_ value: UInt64, _ isBig: Bool) -> UInt64 { isBig ? value.byteSwapped : value }

  private struct Table {
    var levels: Int
    /// A second stage.
    var isWide: Bool
    /// 4-byte entries.
    var isSmall: Bool
    var root: UInt64
    var isBig: Bool
    var updates: Bool
    /// Whose pages: users', the supervisor's, both where mixed.
    var user: Bool?
    var isMixed = false
  }

  private typealias Leaf = (address: UInt64, reads: Bool, writes: Bool)

  private func walk(
    _ table: Table, _ under: Table?, _ address: UInt64, _ wants: (Bool, Bool, Bool), _ asked: Asked
  ) throws(Ended) -> Leaf {
    typealias O = Oracle
    let (reads, writes, executes) = wants
    // The type is the access's own; QEMU's is what it takes for it by now.
    let type =
      isQEMU ? (writes ? 2 : 1) : asked.executes ? 0 : asked.writes ? 2 : 1
    let pageFault = (table.isWide ? [20, 21, 23] : [12, 13, 15])[type]
    let digits: UInt64 = table.isSmall ? 10 : 9
    let width = 12 + digits * UInt64(table.levels) + (table.isWide ? 2 : 0)
    if table.isWide || table.isSmall {
      if address >= O.power(width) {
        throw Ended(end: .cause(isQEMU && table.isSmall ? [20, 21, 23][type] : pageFault))
      }
    } else {
      let above = O.bits(address, 63, width - 1)
      if above != 0 && above != O.power(64 - width + 1) - 1 { throw Ended(end: .cause(pageFault)) }
    }
    var base = table.root
    for level in (0..<table.levels).reversed() {
      let low = 12 + digits * UInt64(level)
      let isRoot = level == table.levels - 1
      let index = O.bits(address, low + digits - 1 + (table.isWide && isRoot ? 2 : 0), low)
      var place = base &+ index * (table.isSmall ? 4 : 8)
      let guest = place
      if let under {
        let implied = isQEMU ? wants : (true, false, false)
        place = try walk(under, nil, place, implied, asked).address
      }
      if place >= O.power(O.bits(capabilities, 37, 32)) { throw Ended(end: .cause([1, 5, 7][type])) }
      guard var entry = table.isSmall ? half(place) : word(place) else { throw Ended(end: .unreadable) }
      if table.isBig { entry = table.isSmall ? UInt64(UInt32(entry).byteSwapped) : entry.byteSwapped }
      let (v, r, w, x, u) = (O.bit(entry, 0), O.bit(entry, 1), O.bit(entry, 2), O.bit(entry, 3), O.bit(entry, 4))
      let (a, d) = (O.bit(entry, 6), O.bit(entry, 7))
      var page = table.isSmall ? O.bits(entry, 31, 10) : O.bits(entry, 53, 10)
      let fails = Ended(end: .cause(pageFault))
      if !v || (w && !r) { throw fails }
      if isQEMU {
        page = entry / 1024
      } else if !table.isSmall {
        if O.bits(entry, 60, 54) != 0 { throw fails }
        let pbmt = O.bits(entry, 62, 61)
        if pbmt == 3 || (pbmt != 0 && !can(15)) { throw fails }
      }
      if !r && !x {
        if level == 0 { throw fails }
        if !isQEMU, a || d || u || (!table.isSmall && O.bits(entry, 63, 61) != 0) { throw fails }
        base = page &* 4096
        continue
      }
      if (reads && !r) || (writes && !w) || (executes && !x) { throw fails }
      if !isQEMU {
        let isUsers = table.isWide ? true : table.user ?? true
        if isUsers && !u { throw fails }
        if !isUsers && u && (!table.isMixed || executes) { throw fails }
      }
      if !table.updates {
        if isQEMU {
          if (reads && !a) || (writes && !d) { throw fails }
        } else if !a || (writes && !d) {
          throw fails
        }
      }
      var span = O.power(digits * UInt64(level))
      if !isQEMU && !table.isSmall && O.bit(entry, 63) {
        if level > 0 || page % 16 != 8 { throw fails }
        span = 16
        page -= 8
      }
      if page % span != 0 { throw fails }
      // Setting A or D of a first stage is a write through the second.
      if let under, table.updates, can(24), !isQEMU, !a || (writes && !d) {
        _ = try walk(under, nil, guest, (true, true, false), asked)
      }
      return (page &* 4096 + address % (span * 4096), r, w)
    }
    throw Ended(end: .cause(pageFault))
  }
}
