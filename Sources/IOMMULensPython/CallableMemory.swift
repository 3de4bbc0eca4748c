internal import CPython
internal import PageTables

/// Guest memory that a Python callable reads: `(address, length) -> bytes`.
///
/// The callable raises `UnreadableMemory` for an address that it cannot read. Any other exception ends the whole
/// operation and reaches the caller as it is, see ``rethrowing(_:)``.
final class CallableMemory: PhysicalMemory {
  private let callable: PythonReference
  private let name: String
  private var failure: (any Error)?

  /// Reads through `callable`, known to a person as `name`.
  init(_ callable: PythonReference, name: String) {
    self.callable = callable
    self.name = name
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    if failure != nil { throw UnreadableMemory(address: address, reason: "an earlier read failed") }
    do {
      try checkInterrupted()
      let result = try callable.call(.init(address), .init(buffer.count))
      let call = "\(name)(\(address), \(buffer.count))"
      try result.withBytes("The result of \(call)") { bytes in
        guard bytes.count == buffer.count else {
          throw InvalidArgument("\(call) returned \(bytes.count) bytes, not \(buffer.count).")
        }
        buffer.copyMemory(from: bytes)
      }
    } catch let exception as PythonException where exception.isInstance(of: .unreadableMemory) {
      throw exception.unreadable(at: address)
    } catch {
      failure = error
      throw UnreadableMemory(address: address, reason: String(describing: error))
    }
  }

  /// Runs `body`, then throws what the callable raised in it beyond unreadable memory.
  func rethrowing<Result>(_ body: () throws -> Result) throws -> Result {
    failure = nil
    defer { failure = nil }
    let result = Swift.Result { try body() }
    if let failure { throw failure }
    return try result.get()
  }
}

extension PythonException {
  /// What an `UnreadableMemory` of Python says: its `address` and `reason`, or the address asked for and its text.
  fileprivate func unreadable(at requested: GPA) -> UnreadableMemory {
    let address = try? value.attribute("address").uint64("address")
    let reason = try? value.attribute("reason").string("reason")
    let text = try? PythonReference(owning: value.borrow({ PyObject_Str($0) })).string("text")
    return UnreadableMemory(
      address: address.map { GPA($0) } ?? requested,
      reason: reason ?? text.flatMap { $0.isEmpty ? nil : $0 } ?? "no reason given")
  }
}
