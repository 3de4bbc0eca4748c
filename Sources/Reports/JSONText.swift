/// Writes a report as JSON: what holds other parts on lines of its own, everything else on one line.
struct JSONText {
  private let emit: (String) throws -> Void
  private var piece = ""

  /// Hands out the text of `value`, with a newline at its end, in pieces.
  static func write(_ value: ReportValue, emit: @escaping (String) throws -> Void) throws {
    var writer = JSONText(emit: emit)
    try writer.write(value, indent: 0)
    writer.piece += "\n"
    try emit(writer.piece)
  }

  private init(emit: @escaping (String) throws -> Void) { self.emit = emit }

  private mutating func write(_ value: ReportValue, indent: Int) throws {
    switch value {
    case .object(let parts):
      let isFlat = parts.allSatisfy { !$0.value.isNested }
      try write(parts, "{", "}", indent: indent, isFlat: isFlat) { writer, part, indent in
        writer.piece.append(jsonString: part.name)
        writer.piece += ": "
        try writer.write(part.value, indent: indent)
      }
    case .list(let list):
      let isFlat = list.count == 0 || list[0].isScalar
      try write(0..<list.count, "[", "]", indent: indent, isFlat: isFlat) { writer, position, indent in
        try writer.write(list[position], indent: indent)
      }
    case .sentence(let text), .literal(let text), .markup(let text): piece.append(jsonString: text)
    // A number of JSON keeps 53 bits where it is read as a double.
    case .word(let bits): piece += "\"0x\(String(bits, radix: 16))\""
    case .integer(let number): piece += String(number)
    case .flag(let flag): piece += flag ? "true" : "false"
    case .nothing: piece += "null"
    }
  }

  private mutating func write<Parts: Collection>(
    _ parts: Parts, _ open: String, _ close: String, indent: Int, isFlat: Bool,
    _ body: (inout JSONText, Parts.Element, Int) throws -> Void
  ) throws {
    piece += open
    var isFirst = true
    for part in parts {
      if !isFirst { piece += isFlat ? ", " : "," }
      if !isFlat { startLine(indent + 2) }
      isFirst = false
      try body(&self, part, indent + 2)
      if piece.utf8.count > 60_000 {
        try emit(piece)
        piece = ""
      }
    }
    if !isFlat { startLine(indent) }
    piece += close
  }

  private mutating func startLine(_ indent: Int) {
    piece += "\n"
    for _ in 0..<indent { piece += " " }
  }
}

extension ReportValue {
  fileprivate var isScalar: Bool {
    switch self {
    case .object, .list: false
    default: true
    }
  }

  /// Whether it takes lines of its own: it holds parts that hold parts, or very many.
  fileprivate var isNested: Bool {
    switch self {
    case .object: true
    case .list(let list): list.count > 0 && !(list[0].isScalar && list.count <= 16)
    default: false
    }
  }
}
