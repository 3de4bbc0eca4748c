extension Structured {
  /// The answer as a JSON document (RFC 8259) of lines that a person can read: what fits on a line is on one, and so are
  /// numbers.
  public var json: String {
    var text = ""
    write(to: &text, indent: "")
    return text
  }

  /// The answer as JSON on one line, for streams with an answer a line.
  public var jsonLine: String {
    var text = ""
    writeCompactly(to: &text)
    return text
  }

  private static let lineWidth = 110

  private func write(to text: inout String, indent: String) {
    switch self {
    case .list(let elements) where !elements.isEmpty && !fits(indent):
      text += "["
      for (position, element) in elements.enumerated() {
        text += position == 0 ? "\n\(indent)  " : ",\n\(indent)  "
        element.write(to: &text, indent: indent + "  ")
      }
      text += "\n\(indent)]"
    case .object(let fields) where !fields.isEmpty && !fits(indent):
      text += "{"
      for (position, field) in fields.enumerated() {
        text += position == 0 ? "\n\(indent)  " : ",\n\(indent)  "
        text.append(jsonString: field.name)
        text += ": "
        field.value.write(to: &text, indent: indent + "  ")
      }
      text += "\n\(indent)}"
    default: writeCompactly(to: &text)
    }
  }

  /// Whether the value is short enough for the rest of a line.
  private func fits(_ indent: String) -> Bool {
    if case .list(let elements) = self, elements.allSatisfy({ if case .number = $0 { true } else { false } }) {
      return true
    }
    return length(upTo: Self.lineWidth - indent.utf8.count) != nil
  }

  /// How many bytes the compact form has at least; nil when they are more than `limit`.
  private func length(upTo limit: Int) -> Int? {
    var room = limit
    func take(_ bytes: Int?) -> Bool {
      guard let bytes, bytes <= room else { return false }
      room -= bytes
      return true
    }
    switch self {
    case .list(let elements):
      for element in elements where !take(element.length(upTo: room - 2).map { $0 + 2 }) { return nil }
    case .object(let fields):
      for field in fields
      where !take(field.value.length(upTo: room - field.name.utf8.count - 6).map { $0 + field.name.utf8.count + 6 }) {
        return nil
      }
    case .text(let value): if !take(value.utf8.count + 2) { return nil }
    case .address: if !take(12) { return nil }
    case .null, .bool, .number: if !take(4) { return nil }
    }
    return limit - room
  }

  private func writeCompactly(to text: inout String) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .number(let value): text += "\(value)"
    case .address(let value): text += "\"0x\(String(value, radix: 16))\""
    case .text(let value): text.append(jsonString: value)
    case .list(let elements):
      text += "["
      for (position, element) in elements.enumerated() {
        if position > 0 { text += ", " }
        element.writeCompactly(to: &text)
      }
      text += "]"
    case .object(let fields):
      text += "{"
      for (position, field) in fields.enumerated() {
        if position > 0 { text += ", " }
        text.append(jsonString: field.name)
        text += ": "
        field.value.writeCompactly(to: &text)
      }
      text += "}"
    }
  }
}
