internal import PageTables
internal import Reports

/// In which form a method answers.
enum AnswerForm: String, CaseIterable {
  /// For a person, as wide as the session's terminal.
  case text
  /// For a program: JSON.
  case json
  /// For a front end: dicts, lists and texts, as GDB/MI knows them.
  case records
}

extension Arguments {
  /// The form that `form` names.
  func form() throws -> AnswerForm { try choice("form", of: AnswerForm.self, default: .text) }

  /// One answer in the form that was asked for.
  func answer(text: () throws -> String, data: () throws -> Structured) throws -> PythonValue {
    switch try form() {
    case .text: .string(Layout.folded(try text()))
    case .json: .string(try data().json)
    case .records: try data().records
    }
  }
}

extension Structured {
  /// The answer as GDB/MI's results: without what is not known, and with words for true and false, because MI has neither.
  var records: PythonValue {
    switch self {
    case .null: ""
    case .bool(let value): .string(value ? "true" : "false")
    case .number(let value): .integer(value)
    case .address(let value): .string(hex(value))
    case .text(let value): .string(value)
    case .list(let elements): .list(elements.map(\.records))
    case .object(let fields):
      .dictionary(
        fields.compactMap { name, value in
          if case .null = value { return nil }
          return (name, value.records)
        })
    }
  }
}

/// Puts JSON lines together, so that not every one of a million crosses over to Python.
enum JSONLines {
  private static let size = 60_000

  /// Hands the answers of `body` to `emit`, a line an answer, many lines at a time.
  static func emit(
    _ body: ((Structured) throws -> Void) throws -> Void, to emit: @escaping (String) throws -> Void
  ) throws {
    var text = ""
    try body { answer in
      text += answer.jsonLine + "\n"
      guard text.utf8.count > size else { return }
      try emit(text)
      text = ""
    }
    if !text.isEmpty { try emit(text) }
  }
}
