import Investigation

extension String {
  /// Adds `value` as a JSON string (RFC 8259, section 7). Characters that would move a terminal's cursor are escaped as well as
  /// those that JSON forbids.
  mutating func append(jsonString value: String) {
    self += "\""
    defer { self += "\"" }
    if value.utf8.allSatisfy({ 0x20..<0x7f ~= $0 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
      self += value
      return
    }
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": self += "\\\""
      case "\\": self += "\\\\"
      case "\n": self += "\\n"
      case "\t": self += "\\t"
      case _ where isPrintable(scalar): unicodeScalars.append(scalar)
      default:
        for unit in String(scalar).utf16 {
          let digits = String(unit, radix: 16)
          self += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
      }
    }
  }
}
