import IOMMUModel
import Investigation
import PageTables

/// Reads a device's state that somebody typed out: `root[3] = 0x…` lines of a root table whose address a line before them
/// tells, and `IOMMUCAUSE = 0x…` lines with the registers' names.
struct TypedStateReader: LineReader {
  /// The text's name.
  let name: String
  /// The devices that are known.
  let devices: [any DeviceModel]

  /// Lines before a block in which the root table's address is looked for.
  private static let reach = 256

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard Self.entry(text[start]) != nil || register(text[start]) != nil else { return nil }
    var entries: [(index: UInt64, value: UInt64)] = []
    var values = RegisterValues()
    var device: String?
    var isNested = false
    var end = start
    while end < text.count {
      if let entry = Self.entry(text[end]) {
        if entry.isNested { isNested = true }
        entries.append((entry.index, entry.value))
      } else if let (offset, value, owner) = register(text[end]) {
        if values[offset] != nil { break }
        values.byOffset[offset] = value
        device = owner
      } else {
        break
      }
      end += 1
    }
    let lines = text.numbers(start..<end)
    if isNested {
      return Reading(
        refusing: start..<end,
        "These are entries of tables, typed out in part: tables are taken as whole pages, because what a list leaves out "
          + "may be anything.", in: text)
    }
    var findings: [Finding] = []
    if let root = Self.root(before: start, of: text) {
      for (index, value) in entries where index < 512 {
        findings.append(
          Finding(
            lines: lines,
            evidence: .fact(name: Fact.entry(root + index &* 8), value: "\(hex(value)), root[\(index)]")))
      }
    } else if !entries.isEmpty {
      return Reading(refusing: start..<end, "These are entries of a table, but not of which.", in: text)
    }
    if !values.byOffset.isEmpty {
      findings.append(Finding(lines: lines, evidence: .registers(values), device: device))
    }
    return Reading(end: end, findings)
  }

  /// `root[3] = 0x…`, or an entry below it.
  private static func entry(_ line: ArraySlice<UInt8>) -> (index: UInt64, value: UInt64, isNested: Bool)? {
    var scanner = Scanner(line.prefix(256))
    scanner.skipSpaces()
    guard let name = scanner.identifier(), name == "root" || name.hasPrefix("level"), scanner.take("[") else {
      return nil
    }
    guard let index = scanner.number(), scanner.take("]") else { return nil }
    var isNested = name != "root"
    while scanner.take(".") {
      isNested = true
      guard scanner.identifier() != nil, scanner.take("["), scanner.number() != nil, scanner.take("]") else {
        return nil
      }
    }
    guard scanner.take(" = "), let value = scanner.number() else { return nil }
    // Words behind the value make it a summary of a table rather than its entry.
    scanner.skipSpaces()
    return (index, value, isNested || !scanner.isAtEnd)
  }

  /// `IOMMUCAUSE = 0x…`.
  private func register(_ line: ArraySlice<UInt8>) -> (UInt64, UInt64, String)? {
    var scanner = Scanner(line.prefix(64))
    guard let name = scanner.identifier(), scanner.take(" = "), let value = scanner.number(), scanner.isAtEnd else {
      return nil
    }
    for device in devices {
      if let register = device.registers.first(where: { $0.name == name }) {
        return (register.offset, value, device.name)
      }
    }
    return nil
  }

  /// `root table at 0x80b82000` in a line before.
  private static func root(before start: Int, of text: TextLines) -> GPA? {
    for index in stride(from: start - 1, through: max(0, start - reach), by: -1) {
      var scanner = Scanner(text[index].prefix(512))
      if scanner.skip(past: "root table at "), let address = scanner.number(), address & 0xfff == 0 {
        return GPA(address)
      }
    }
    return nil
  }
}
