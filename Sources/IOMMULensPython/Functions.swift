internal import CPython
internal import GuestMemory

// How a Swift closure becomes a function, method or class of Python.
//
// Python calls plain C functions, which cannot carry a Swift closure, a name or a documentation. So each is a literal
// that passes all three on:
//
//     { function($0, $1, $2, "decode_entry(raw, level=0)", "What a table entry says.") { arguments in … } }
//
// The same literal, called once without arguments when the module is created, tells its name and documentation for the
// module's method table.

/// The C function that Python calls.
typealias CFunction = PyCFunctionWithKeywords

/// A function of the module.
func function(
  _ module: BorrowedObject?, _ positional: BorrowedObject?, _ keywords: BorrowedObject?,
  _ signature: StaticString, _ documentation: StaticString,
  body: (Arguments) throws -> PythonValue
) -> BorrowedObject? {
  bridge(positional, keywords, signature, documentation) { try body($0).makeObject() }
}

/// A method of a class whose instances hold a `Receiver`.
func method<Receiver: AnyObject>(
  _ instance: BorrowedObject?, _ positional: BorrowedObject?, _ keywords: BorrowedObject?,
  _ signature: StaticString, _ documentation: StaticString,
  body: (Receiver, Arguments) throws -> PythonValue
) -> BorrowedObject? {
  bridge(positional, keywords, signature, documentation) { arguments in
    guard let receiver = PythonClass.object(in: instance) as? Receiver else {
      throw ArgumentTypeError("\(Signature.cached(signature).name)() needs an instance of its class")
    }
    return try body(receiver, arguments).makeObject()
  }
}

/// The constructor of a class: `body` creates what the new instance holds.
func constructor(
  _ type: BorrowedObject?, _ positional: BorrowedObject?, _ keywords: BorrowedObject?,
  _ signature: StaticString, _ documentation: StaticString,
  body: (Arguments) throws -> AnyObject
) -> BorrowedObject? {
  bridge(positional, keywords, signature, documentation) { arguments in
    try PythonClass.makeInstance(of: type, holding: try body(arguments))
  }
}

/// The edge between Python and Swift: what is thrown inside leaves as a Python exception.
private func bridge(
  _ positional: BorrowedObject?, _ keywords: BorrowedObject?, _ signature: StaticString, _ documentation: StaticString,
  body: (Arguments) throws -> PythonReference
) -> BorrowedObject? {
  guard let positional else {
    FunctionDescription.told = FunctionDescription(signature: Signature.cached(signature), text: "\(documentation)")
    return nil
  }
  do {
    return try CallDepth.deeper {
      try MappedFiles.unlessCut {
        try body(try Arguments(Signature.cached(signature), positional: positional, keywords: keywords))
      }.handedOver()
    }
  } catch {
    Exceptions.current.raise(error)
    return nil
  }
}

/// Nested calls from Python into this library. Python's own limit counts its frames only, not the stack that Swift uses.
private enum CallDepth {
  nonisolated(unsafe) static var current = 0

  static func deeper<Result>(_ body: () throws -> Result) throws -> Result {
    guard current < 100 else { throw TooDeep() }
    current += 1
    defer { current -= 1 }
    return try body()
  }
}

/// What a function tells about itself.
struct FunctionDescription {
  let signature: Signature
  let text: String

  nonisolated(unsafe) fileprivate static var told: FunctionDescription?

  /// Asks `function`.
  init?(of function: CFunction) {
    FunctionDescription.told = nil
    _ = function(nil, nil, nil)
    guard let told = FunctionDescription.told else { return nil }
    self = told
  }

  fileprivate init(signature: Signature, text: String) {
    self.signature = signature
    self.text = text
  }

  /// The form from which Python makes `__text_signature__` and `__doc__`. `receiver` is `$module`, `$self` or, for a
  /// constructor, nothing.
  func documentation(receiver: String?) -> String {
    let parameters = [receiver, signature.parameterText.isEmpty ? nil : signature.parameterText].compactMap { $0 }
    return "\(signature.name)(\(parameters.joined(separator: ", ")))\n--\n\n\(text)"
  }
}

/// The table from which Python makes functions or methods. It lives for ever, as Python expects.
func methodTable(_ functions: [CFunction], receiver: String) -> UnsafeMutablePointer<PyMethodDef> {
  let table = UnsafeMutablePointer<PyMethodDef>.allocate(capacity: functions.count + 1)
  table.initialize(repeating: PyMethodDef(), count: functions.count + 1)
  let described = functions.compactMap { function in FunctionDescription(of: function).map { (function, $0) } }
  for (row, (function, description)) in described.enumerated() {
    table[row] = CPython_method(
      immortal(description.signature.name), function, immortal(description.documentation(receiver: receiver)))
  }
  return table
}

/// A C string that lives as long as the process.
func immortal(_ text: String) -> UnsafePointer<CChar> {
  let bytes = text.utf8CString
  let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
  copy.initialize(repeating: 0, count: bytes.count)
  for (position, byte) in bytes.enumerated() { copy[position] = byte }
  return UnsafePointer(copy)
}
