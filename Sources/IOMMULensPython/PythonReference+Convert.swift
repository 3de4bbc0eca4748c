internal import CPython
internal import PageTables

// From Python to Swift. Each conversion takes the name under which a person knows the value, for the error's text.

extension PythonReference {
  /// Whether one of Python's type checks says yes.
  func isInstance(_ check: (BorrowedObject?) -> Int32) -> Bool { borrow { check($0) != 0 } }

  /// An unsigned 64-bit number from an `int` or anything with `__index__`, such as an integer `gdb.Value`.
  func uint64(_ name: String) throws -> UInt64 {
    let number = try index(name)
    let value = number.borrow { PyLong_AsUnsignedLongLong($0) }
    if value == UInt64.max, PyErr_Occurred() != nil {
      PyErr_Clear()
      throw InvalidArgument("\(name) must be between 0 and 0xffffffffffffffff, not \(number.hexadecimal).")
    }
    return value
  }

  /// A signed number from an `int` or anything with `__index__`.
  func int(_ name: String) throws -> Int {
    let number = try index(name)
    let value = number.borrow { PyLong_AsLongLong($0) }
    if value == -1, PyErr_Occurred() != nil {
      PyErr_Clear()
      throw InvalidArgument(
        "\(name) must be between -0x8000000000000000 and 0x7fffffffffffffff, not \(number.hexadecimal).")
    }
    return Int(value)
  }

  /// True or False; no other object has a truth here.
  func bool(_ name: String) throws -> Bool {
    guard isInstance(CPython_isBool) else { throw mismatch(name, "True or False") }
    return borrow { $0 == CPython_true() }
  }

  /// Text that UTF-8 can express, without NUL.
  func string(_ name: String) throws -> String {
    guard isInstance(CPython_isString) else { throw mismatch(name, "a str") }
    guard let encoded = borrow({ PyUnicode_AsUTF8String($0) }) else {
      PyErr_Clear()
      throw InvalidArgument("\(name) contains a lone surrogate, which is not text.")
    }
    let utf8 = try PythonReference(owning: encoded).bytes(name)
    guard !utf8.contains(0) else { throw InvalidArgument("\(name) contains a NUL character.") }
    return String(decoding: utf8, as: UTF8.self)
  }

  /// A file's name: text, or an object such as pathlib's that has one.
  func path(_ name: String) throws -> String {
    guard let text = borrow({ PyOS_FSPath($0) }) else {
      let exception = PythonException.pending()
      throw exception.isInstance(of: .typeError) ? mismatch(name, "a str or a path") : exception
    }
    return try PythonReference(owning: text).string(name)
  }

  /// A copy of a `bytes`, `bytearray`, `memoryview` or other buffer.
  func bytes(_ name: String) throws -> [UInt8] { try withBytes(name) { [UInt8]($0) } }

  /// The bytes of a `bytes`, `bytearray`, `memoryview` or other buffer while `body` runs.
  func withBytes<Result>(_ name: String, _ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
    if isInstance(CPython_isBytes) {
      var start: UnsafeMutablePointer<CChar>?
      var count = 0
      return try borrow { object in
        try check(PyBytes_AsStringAndSize(object, &start, &count))
        return try body(UnsafeRawBufferPointer(start: start, count: count))
      }
    }
    // The buffer protocol itself joined the stable ABI in 3.11 only; a memoryview leads there in every version.
    guard let view = borrow({ PyMemoryView_FromObject($0) }) else {
      PyErr_Clear()
      throw mismatch(name, "bytes")
    }
    let copy = try PythonReference(owning: try PythonReference(owning: view).borrow { PyBytes_FromObject($0) })
    guard copy.isInstance(CPython_isBytes) else { throw mismatch(name, "bytes") }
    return try copy.withBytes(name, body)
  }

  /// This object, when it can be called.
  func callable(_ name: String) throws -> PythonReference {
    guard isInstance(PyCallable_Check) else { throw mismatch(name, "callable") }
    return self
  }

  /// The elements of a `list` or `tuple`, each converted under the name `name[0]`, `name[1]`, …
  func list<Element>(
    _ name: String, of convert: (PythonReference) -> (String) throws -> Element
  ) throws -> [Element] {
    guard isInstance(CPython_isList) || isInstance(CPython_isTuple) else { throw mismatch(name, "a list or tuple") }
    var elements: [Element] = []
    // A conversion may run Python code that changes the list: ask for its size every time, and never for more than it had.
    let count = borrow { PySequence_Size($0) }
    while elements.count < min(count, borrow({ PySequence_Size($0) })) {
      let element = try PythonReference(owning: borrow { PySequence_GetItem($0, elements.count) })
      elements.append(try convert(element)("\(name)[\(elements.count)]"))
    }
    return elements
  }

  /// The result of `convert`; nil for `None`.
  func optional<Value>(_ name: String, _ convert: (PythonReference) -> (String) throws -> Value) throws -> Value? {
    isNone ? nil : try convert(self)(name)
  }

  /// A wrong type, told as `name must be …, not str.`
  func mismatch(_ name: String, _ expected: String) -> ArgumentTypeError {
    ArgumentTypeError("\(name) must be \(expected), not \(isNone ? "None" : className).")
  }

  private func index(_ name: String) throws -> PythonReference {
    guard isInstance(PyIndex_Check) else { throw mismatch(name, "an int") }
    return try PythonReference(owning: borrow { PyNumber_Index($0) })
  }

  /// This integer in hexadecimal, shortened when it is longer than a person reads.
  private var hexadecimal: String {
    guard let digits = try? PythonReference(owning: borrow({ PyNumber_ToBase($0, 16) })),
      let text = try? digits.string("")
    else { return "that" }
    return text.utf8.count <= 40 ? text : "\(text.prefix(20))… (\(text.utf8.count - 2) digits)"
  }
}
