internal import CPython

/// A call's arguments by name, whether they came by position or by keyword.
struct Arguments {
  private let signature: Signature
  private var values: [PythonReference?]

  /// Sorts a tuple and a dict of arguments into the parameters of `signature`; complains as Python does.
  init(_ signature: Signature, positional: BorrowedObject, keywords: BorrowedObject?) throws {
    self.signature = signature
    values = Array(repeating: nil, count: signature.parameters.count)
    let count = PyTuple_Size(positional)
    guard count <= signature.positionalCount else { throw Arguments.tooMany(signature, given: count) }
    for position in 0..<max(count, 0) {
      if let argument = PyTuple_GetItem(positional, position) {
        values[position] = PythonReference(borrowing: argument)
      }
    }
    if let keywords {
      var position = 0
      var key: BorrowedObject?
      var value: BorrowedObject?
      while PyDict_Next(keywords, &position, &key, &value) != 0 {
        if let key, let value { try add(PythonReference(borrowing: value), keyword: PythonReference(borrowing: key)) }
      }
    }
    let missing = zip(signature.parameters, values).filter { $0.isRequired && $1 == nil }.map { "'\($0.0.name)'" }
    guard missing.isEmpty else {
      let names =
        missing.count < 3
        ? missing.joined(separator: " and ")
        : missing.dropLast().joined(separator: ", ") + ", and " + missing[missing.count - 1]
      throw ArgumentTypeError(
        "\(signature.name)() missing \(missing.count) required argument\(missing.count == 1 ? "" : "s"): \(names)")
    }
  }

  private mutating func add(_ value: PythonReference, keyword: PythonReference) throws {
    guard keyword.isInstance(CPython_isString) else { throw ArgumentTypeError("keywords must be strings") }
    let name = try keyword.string("A keyword of \(signature.name)()")
    guard let position = signature.parameters.firstIndex(where: { $0.name == name }) else {
      throw ArgumentTypeError("\(signature.name)() got an unexpected keyword argument '\(name)'")
    }
    guard values[position] == nil else {
      throw ArgumentTypeError("\(signature.name)() got multiple values for argument '\(name)'")
    }
    values[position] = value
  }

  private static func tooMany(_ signature: Signature, given: Int) -> ArgumentTypeError {
    let most = signature.positionalCount
    let least = signature.parameters.count { $0.isRequired && !$0.isKeywordOnly }
    let takes = least == most ? "\(most)" : "from \(least) to \(most)"
    return ArgumentTypeError(
      "\(signature.name)() takes \(takes) positional argument\(most == 1 ? "" : "s") but \(given) "
        + "\(given == 1 ? "was" : "were") given")
  }

  // MARK: Taking them out

  /// The argument as it came; nil when the call did not pass it.
  func optional(_ name: String) throws -> PythonReference? {
    guard let position = signature.parameters.firstIndex(where: { $0.name == name }) else {
      throw ArgumentTypeError("\(signature.name)() has no parameter '\(name)'; this is a mistake in iommulens.")
    }
    return values[position]
  }

  /// The argument as it came. (A required one is there: that was checked before the call.)
  func object(_ name: String) throws -> PythonReference {
    guard let object = try optional(name) else { throw ArgumentTypeError("\(signature.name)() needs '\(name)'") }
    return object
  }

  /// The argument converted, nil when it is missing or None.
  private func optional<Value>(
    _ name: String, _ convert: (PythonReference) -> (String) throws -> Value
  ) throws -> Value? {
    try optional(name)?.optional(name, convert)
  }

  /// An unsigned 64-bit number.
  func uint64(_ name: String) throws -> UInt64 { try object(name).uint64(name) }
  /// An unsigned 64-bit number, nil when it is missing or None.
  func optionalUInt64(_ name: String) throws -> UInt64? { try optional(name, PythonReference.uint64) }
  /// A signed number.
  func int(_ name: String) throws -> Int { try object(name).int(name) }
  /// A signed number, nil when it is missing or None.
  func optionalInt(_ name: String) throws -> Int? { try optional(name, PythonReference.int) }
  /// Text.
  func string(_ name: String) throws -> String { try object(name).string(name) }
  /// Text, nil when it is missing or None.
  func optionalString(_ name: String) throws -> String? { try optional(name, PythonReference.string) }
  /// Bytes.
  func bytes(_ name: String) throws -> [UInt8] { try object(name).bytes(name) }
  /// Bytes, nil when they are missing or None.
  func optionalBytes(_ name: String) throws -> [UInt8]? { try optional(name, PythonReference.bytes) }
  /// True or False.
  func bool(_ name: String) throws -> Bool { try object(name).bool(name) }
  /// True or False, nil when it is missing or None.
  func optionalBool(_ name: String) throws -> Bool? { try optional(name, PythonReference.bool) }
  /// Something to call.
  func callable(_ name: String) throws -> PythonReference { try object(name).callable(name) }
  /// Something to call, nil when it is missing or None.
  func optionalCallable(_ name: String) throws -> PythonReference? { try optional(name, PythonReference.callable) }
  /// A list or tuple of unsigned 64-bit numbers.
  func uint64List(_ name: String) throws -> [UInt64] { try object(name).list(name, of: PythonReference.uint64) }
  /// A list or tuple of texts.
  func stringList(_ name: String) throws -> [String] { try object(name).list(name, of: PythonReference.string) }
  /// A file's name.
  func path(_ name: String) throws -> String { try object(name).path(name) }
  /// A file's name, nil when it is missing or None.
  func optionalPath(_ name: String) throws -> String? { try optional(name, PythonReference.path) }
  /// A list or tuple of files' names.
  func pathList(_ name: String) throws -> [String] { try object(name).list(name, of: PythonReference.path) }
  /// A tree of plain values.
  func value(_ name: String) throws -> PythonValue { try object(name).value(name) }

  /// A case of an enumeration by its raw value; `fallback` when it is missing or None.
  func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ name: String, of type: Choice.Type, default fallback: Choice
  ) throws -> Choice {
    guard let text = try optionalString(name) else { return fallback }
    if let choice = Choice(rawValue: text) { return choice }
    let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
    throw InvalidArgument("\(name) must be one of \(known), not '\(text.prefix(40))'.")
  }
}
