internal import CPython

// Calls from Swift back into Python. Whatever Python raises arrives as a `PythonException`.

extension PythonReference {
  /// The attribute `name`.
  func attribute(_ name: String) throws -> PythonReference {
    try PythonReference(owning: borrow { PyObject_GetAttrString($0, name) })
  }

  /// Sets the attribute `name`.
  func setAttribute(_ name: String, to value: PythonValue) throws {
    let value = try value.makeObject()
    try check(borrow { object in value.borrow { PyObject_SetAttrString(object, name, $0) } })
  }

  /// Calls this object.
  func call(_ arguments: PythonValue...) throws -> PythonReference { try call(arguments) }

  /// Calls this object's method `name`.
  func call(method name: String, _ arguments: PythonValue...) throws -> PythonReference {
    try attribute(name).call(arguments)
  }

  /// Calls this object.
  func call(_ arguments: [PythonValue]) throws -> PythonReference {
    let tuple = try PythonReference.tuple(arguments.map { try $0.makeObject() })
    return try PythonReference(owning: borrow { object in tuple.borrow { PyObject_Call(object, $0, nil) } })
  }

  /// A tuple of these objects.
  static func tuple(_ elements: [PythonReference]) throws -> PythonReference {
    let tuple = try PythonReference(owning: PyTuple_New(elements.count))
    for (position, element) in elements.enumerated() {
      try check(tuple.borrow { PyTuple_SetItem($0, position, element.handedOver()) })
    }
    return tuple
  }
}
