internal import GuestMemory
internal import IOMMUModel
internal import PageTables

/// The debugger, as a Python object with the methods `evaluate`, `string`, `parameters`, `function`, `read_virtual`, `read_physical`,
/// `read_physical_pages`, `write_physical`, `connection`, `monitor`, `is_inside` and `progress`.
final class PythonTarget: Target {
  private let object: PythonReference

  /// What Python raised to end the whole command (Ctrl-C); such an exception is no answer of the target.
  private var abort: PythonException?

  /// Whether the stub answers, once that was looked at within the command that goes on.
  private var answers: Result<Void, TargetError>?
  /// The process behind a connection: to find it takes longer than to look at it.
  private var peer: (connection: String, found: QEMUProcess?)?

  /// The debugger behind `object`.
  init(_ object: PythonReference) { self.object = object }

  /// Runs `body`, then throws what ended it from the Python side.
  func rethrowing<Result>(_ body: () throws -> Result) throws -> Result {
    abort = nil
    answers = nil
    defer { abort = nil }
    do {
      let result = try body()
      if let abort { throw abort }
      return result
    } catch {
      throw abort ?? error
    }
  }

  func ask<Answer>(
    _ method: String, _ arguments: PythonValue..., answer: (PythonReference) throws -> Answer
  ) throws(TargetError) -> Answer {
    try ask(method, list: arguments, answer: answer)
  }

  private func ask<Answer>(
    _ method: String, list arguments: [PythonValue], answer: (PythonReference) throws -> Answer
  ) throws(TargetError) -> Answer {
    if abort != nil { throw TargetError("Interrupted.") }
    do {
      return try answer(try object.attribute(method).call(arguments))
    } catch let exception as PythonException {
      if exception.isInstance(of: .keyboardInterrupt) { abort = exception }
      throw TargetError(exception.message)
    } catch {
      throw TargetError(String(describing: error))
    }
  }

  /// The same for what needs an answer of the stub, which a debugger waits for without end.
  private func askStub<Answer>(
    _ method: String, _ arguments: PythonValue..., answer: (PythonReference) throws -> Answer
  ) throws(TargetError) -> Answer {
    try requireStub()
    return try ask(method, list: arguments, answer: answer)
  }

  /// Throws where the stub's process is stopped. Where there is none, whoever is asked says so.
  func requireStub() throws(TargetError) {
    let answers = self.answers ?? stubAnswers()
    self.answers = answers
    try answers.get()
  }

  /// Spares the command that goes on the look at the stub's process: the stub has just reported a stop.
  func noteStop() { answers = .success(()) }

  private func stubAnswers() -> Result<Void, TargetError> {
    guard let connection = connection() else { return .success(()) }
    if peer?.connection != connection { peer = (connection, try? QEMUProcess(behind: connection)) }
    return (peer?.found?.standstill).map { .failure(TargetError($0)) } ?? .success(())
  }

  /// Shows a person who waits how far the work is; nil when there is no more to wait for.
  func showProgress(_ text: String?) {
    try? ask("progress", .init(text)) { _ in }
  }

  func evaluate(_ expression: String) throws(TargetError) -> UInt64 {
    try askStub("evaluate", .string(expression)) { try $0.uint64("evaluate()") }
  }

  func string(_ expression: String) throws(TargetError) -> String {
    try askStub("string", .string(expression)) { try $0.string("string()") }
  }

  func parameters(of function: String) throws(TargetError) -> [String] {
    try ask("parameters", .string(function)) { answer in
      try answer.list("parameters()", of: PythonReference.string)
    }
  }

  func function(at address: KVA) throws(TargetError) -> String {
    try ask("function", .init(address)) { try $0.string("function()") }
  }

  func read(_ address: KVA, count: Int) throws(TargetError) -> [UInt8] {
    try askStub("read_virtual", .init(address), .integer(count)) { try $0.bytes("read_virtual()") }
  }

  func read(_ address: GPA, count: Int) throws(TargetError) -> [UInt8] {
    try askStub("read_physical", .init(address), .integer(count)) { try $0.bytes("read_physical()") }
  }

  func readPages(_ pages: [GPA]) throws(TargetError) -> [UInt8] {
    try askStub("read_physical_pages", .list(pages.map { .init($0) })) { try $0.bytes("read_physical_pages()") }
  }

  func write(_ address: GPA, bytes: [UInt8]) throws(TargetError) {
    try askStub("write_physical", .init(address), .bytes(bytes)) { _ in }
  }

  func connection() -> String? {
    (try? ask("connection") { try $0.isNone ? nil : $0.string("connection()") }) ?? nil
  }

  func monitor(_ command: String) throws(TargetError) -> String {
    try askStub("monitor", .string(command)) { try $0.string("monitor()") }
  }

  func isInside(_ function: String, _ place: CallPlace?) -> Bool {
    let thread = place.map { PythonValue.integer($0.thread) } ?? nil
    let stack = place.map { PythonValue($0.stack) } ?? nil
    // A stack that cannot be read is no reason to wait for ever.
    return (try? ask("is_inside", .string(function), thread, stack) { try $0.bool("is_inside()") }) ?? false
  }
}

extension PythonException {
  /// The exception's text alone; the class's name where there is none.
  fileprivate var message: String {
    let name = "\(value.className): "
    let text = description
    return text.hasPrefix(name) ? String(text.dropFirst(name.count)) : text
  }
}
