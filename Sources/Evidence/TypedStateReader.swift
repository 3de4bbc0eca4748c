import IOMMUModel
import Investigation
import PageTables

/// Reads a device's state that somebody typed out: `root[3] = 0x…` lines of a root table whose address a line before them
/// tells, and `IOMMUCAUSE = 0x…` lines with the registers' names.
struct TypedStateReader: LineReader {
  /// The devices that are known.
  let devices: [any DeviceModel]

  /// Lines before a block in which the root table's address is looked for.
  private static let reach = 256
  private static let noRoot = "These are entries of a table, but not of which."

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard TypedLine(text[start]) != nil || register(text[start]) != nil else { return nil }
    let root = Self.root(before: start, of: text)
    var builder = TypedTableBuilder(root: nil, address: root)
    var values = RegisterValues()
    var device: String?
    var refusals: [Refusal] = []
    var end = start
    while end < text.count {
      if let line = TypedLine(text[end]) {
        do throws(TypedTableBuilder.Problem) { try builder.add(line, line: text.number(end)) } catch {
          if let last = refusals.last, last.reason == Self.noRoot, root == nil {
            refusals[refusals.count - 1] = Refusal(lines: last.lines.lowerBound...text.number(end), reason: Self.noRoot)
          } else {
            refusals.append(
              Refusal(lines: text.numbers(end..<end + 1), reason: root == nil ? Self.noRoot : error.reason))
          }
        }
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
    var findings = builder.entries.map {
      Finding(lines: lines, evidence: .fact(name: $0.factName, value: $0.factValue))
    }
    if !values.byOffset.isEmpty {
      findings.append(Finding(lines: lines, evidence: .registers(values), device: device))
    }
    return Reading(end: end, findings, refusals: refusals)
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
  static func root(before start: Int, of text: TextLines) -> GPA? {
    for index in stride(from: start - 1, through: max(0, start - reach), by: -1) {
      var scanner = Scanner(text[index].prefix(512))
      if scanner.skip(past: "root table at "), let address = scanner.number(), address & 0xfff == 0 {
        return GPA(address)
      }
    }
    return nil
  }
}
