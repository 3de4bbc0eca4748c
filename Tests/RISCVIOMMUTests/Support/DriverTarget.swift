import IOMMUModel
import PageTables

/// A debugger that answers about a kernel from tables and records every question.
final class DriverTarget: Target {
  /// Answers to expressions; all others fail.
  var values: [String: UInt64]
  /// Parameter names by function; nil for a function without debug information.
  var functions: [String: [String]]
  private(set) var questions: [String] = []

  init(values: [String: UInt64] = [:], functions: [String: [String]] = [:]) {
    self.values = values
    self.functions = functions
  }

  func evaluate(_ expression: String) throws(TargetError) -> UInt64 {
    questions.append("evaluate \(expression)")
    guard let value = values[expression] else { throw TargetError("Cannot evaluate \(expression).") }
    return value
  }

  func parameters(of function: String) throws(TargetError) -> [String] {
    questions.append("parameters \(function)")
    guard let names = functions[function] else { throw TargetError("No debug information for \(function).") }
    return names
  }

  func function(at address: KVA) throws(TargetError) -> String { throw refuse("function \(address)") }
  func string(_ expression: String) throws(TargetError) -> String { throw refuse("string \(expression)") }
  func read(_ address: KVA, count: Int) throws(TargetError) -> [UInt8] { throw refuse("read KVA \(address)") }
  func read(_ address: GPA, count: Int) throws(TargetError) -> [UInt8] { throw refuse("read GPA \(address)") }
  func monitor(_ command: String) throws(TargetError) -> String { throw refuse("monitor \(command)") }
  func isInside(_ function: String, _ place: CallPlace?) -> Bool { false }
  func connection() -> String? { nil }

  private func refuse(_ question: String) -> TargetError {
    questions.append(question)
    return TargetError("The target does not answer: \(question).")
  }

  /// What was answered to `body`: the error's sentence, or nil for a value.
  static func message(_ body: () throws -> some Any) -> String? {
    do { _ = try body() } catch let error as TargetError { return error.description } catch { return "\(error)" }
    return nil
  }
}
