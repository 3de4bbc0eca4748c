internal import CPython
internal import PageTables

/// A value on its way to Python, or a copy of one that came from there.
enum PythonValue: Sendable {
  case none
  case bool(Bool)
  case integer(Int)
  case unsigned(UInt64)
  case double(Double)
  case string(String)
  case bytes([UInt8])
  case list([PythonValue])
  /// Keeps the order, as a Python dict does; of two equal keys the later counts.
  case dictionary([(String, PythonValue)])
  /// A Python object as it is.
  case object(PythonReference)
}

extension PythonValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByStringInterpolation, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  init(nilLiteral: ()) { self = .none }
  init(booleanLiteral value: Bool) { self = .bool(value) }
  init(integerLiteral value: Int) { self = .integer(value) }
  init(stringLiteral value: String) { self = .string(value) }
  init(arrayLiteral elements: PythonValue...) { self = .list(elements) }
  init(dictionaryLiteral elements: (String, PythonValue)...) { self = .dictionary(elements) }

  /// The value that Python sees for `value`.
  init(_ value: some PythonConvertible) { self = value.pythonValue }
}

/// A type with a natural counterpart in Python.
protocol PythonConvertible {
  var pythonValue: PythonValue { get }
}

extension PythonValue: PythonConvertible { var pythonValue: PythonValue { self } }
extension PythonReference: PythonConvertible { var pythonValue: PythonValue { .object(self) } }
extension Bool: PythonConvertible { var pythonValue: PythonValue { .bool(self) } }
extension Int: PythonConvertible { var pythonValue: PythonValue { .integer(self) } }
extension UInt8: PythonConvertible { var pythonValue: PythonValue { .unsigned(UInt64(self)) } }
extension UInt32: PythonConvertible { var pythonValue: PythonValue { .unsigned(UInt64(self)) } }
extension UInt64: PythonConvertible { var pythonValue: PythonValue { .unsigned(self) } }
extension Double: PythonConvertible { var pythonValue: PythonValue { .double(self) } }
extension String: PythonConvertible { var pythonValue: PythonValue { .string(self) } }
extension IOVA: PythonConvertible { var pythonValue: PythonValue { .unsigned(rawValue) } }
extension GPA: PythonConvertible { var pythonValue: PythonValue { .unsigned(rawValue) } }
extension KVA: PythonConvertible { var pythonValue: PythonValue { .unsigned(rawValue) } }
extension HVA: PythonConvertible { var pythonValue: PythonValue { .unsigned(rawValue) } }

extension Optional: PythonConvertible where Wrapped: PythonConvertible {
  var pythonValue: PythonValue { map(\.pythonValue) ?? PythonValue.none }
}

extension Array: PythonConvertible where Element: PythonConvertible {
  var pythonValue: PythonValue { .list(map(\.pythonValue)) }
}

// MARK: To Python

extension PythonValue {
  /// The Python object for this value.
  func makeObject() throws -> PythonReference {
    var keys: [String: PythonReference] = [:]
    return try makeObject(keys: &keys)
  }

  /// `keys` lets the rows of a table share their keys.
  private func makeObject(keys: inout [String: PythonReference]) throws -> PythonReference {
    switch self {
    case .none: return .none
    case .bool(let value): return PythonReference(borrowing: value ? CPython_true() : CPython_false())
    case .integer(let value): return try PythonReference(owning: PyLong_FromLongLong(Int64(value)))
    case .unsigned(let value): return try PythonReference(owning: PyLong_FromUnsignedLongLong(value))
    case .double(let value): return try PythonReference(owning: PyFloat_FromDouble(value))
    case .string(let value): return try PythonValue.makeString(value)
    case .bytes(let value):
      return try value.withUnsafeBytes { bytes in
        let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        return try PythonReference(owning: PyBytes_FromStringAndSize(start, bytes.count))
      }
    case .list(let elements):
      let list = try PythonReference(owning: PyList_New(elements.count))
      for (position, element) in elements.enumerated() {
        let object = try element.makeObject(keys: &keys)
        try check(list.borrow { PyList_SetItem($0, position, object.handedOver()) })
      }
      return list
    case .dictionary(let elements):
      let dictionary = try PythonReference(owning: PyDict_New())
      for (name, value) in elements {
        let key = try keys[name] ?? PythonValue.makeString(name)
        keys[name] = key
        let object = try value.makeObject(keys: &keys)
        try check(
          dictionary.borrow { dictionary in
            key.borrow { key in object.borrow { PyDict_SetItem(dictionary, key, $0) } }
          })
      }
      return dictionary
    case .object(let reference): return reference
    }
  }

  private static func makeString(_ text: String) throws -> PythonReference {
    var text = text
    return try text.withUTF8 { utf8 in
      try utf8.withMemoryRebound(to: CChar.self) { bytes in
        try PythonReference(owning: PyUnicode_DecodeUTF8(bytes.baseAddress, bytes.count, nil))
      }
    }
  }
}

// MARK: From Python

extension PythonReference {
  /// A copy of this object as a tree of Swift values: None, bool, int (an unsigned one when it is not negative), float,
  /// str, bytes, lists, tuples and dicts with str keys.
  func value(_ name: String) throws -> PythonValue { try value(name, depth: 0, within: ValueSize(of: name)) }

  private func value(_ name: String, depth: Int, within size: ValueSize) throws -> PythonValue {
    // A list may contain itself.
    guard depth < 64 else { throw InvalidArgument("\(name) is nested deeper than 64 levels.") }
    try size.grow()
    if isNone { return .none }
    if isInstance(CPython_isBool) { return .bool(try bool(name)) }
    if isInstance(CPython_isString) { return .string(try string(name)) }
    if isInstance(CPython_isBytes) { return .bytes(try bytes(name)) }
    if isInstance(CPython_isFloat) { return .double(borrow { PyFloat_AsDouble($0) }) }
    if isInstance(CPython_isList) || isInstance(CPython_isTuple) {
      return .list(try list(name) { element in { try element.value($0, depth: depth + 1, within: size) } })
    }
    if isInstance(CPython_isDict) {
      let items = try PythonReference(owning: borrow { PyDict_Items($0) })
      return .dictionary(
        try items.list(name) { pair in
          { _ in
            let key = try PythonReference(owning: pair.borrow { PySequence_GetItem($0, 0) }).string("A key of \(name)")
            let value = try PythonReference(owning: pair.borrow { PySequence_GetItem($0, 1) })
            return (key, try value.value("\(name)['\(key)']", depth: depth + 1, within: size))
          }
        })
    }
    if isInstance(PyIndex_Check) {
      let number = try PythonReference(owning: borrow { PyNumber_Index($0) })
      let signed = number.borrow { PyLong_AsLongLong($0) }
      if signed < 0, PyErr_Occurred() == nil { return .integer(Int(signed)) }
      PyErr_Clear()
      return .unsigned(try number.uint64(name))
    }
    throw mismatch(name, "None, a bool, an int, a float, a str, bytes, a list, a tuple or a dict")
  }
}

/// The parts of one value that were copied. A list that stands twice in another counts twice, and so do its parts: sixty such
/// lists would be more than memory holds.
private final class ValueSize {
  private let name: String
  private var parts = 0
  private static let limit = 1 << 20

  init(of name: String) { self.name = name }

  func grow() throws {
    parts += 1
    guard parts <= Self.limit else { throw InvalidArgument("\(name) has more than \(Self.limit) parts.") }
  }
}
