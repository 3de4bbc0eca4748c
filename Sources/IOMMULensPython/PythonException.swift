internal import CPython

/// An exception that Python raised, kept whole: when it reaches the edge of the library, the same object is raised again.
struct PythonException: Error, CustomStringConvertible {
  /// The exception's class.
  let type: PythonReference
  /// The exception.
  let value: PythonReference
  /// Where it was raised.
  let traceback: PythonReference?

  /// Takes the pending exception away from Python.
  static func pending() -> PythonException {
    if PyErr_Occurred() == nil {
      PyErr_SetString(CPython_systemError(), "A Python call failed without saying why.")
    }
    var type: BorrowedObject?
    var value: BorrowedObject?
    var traceback: BorrowedObject?
    PyErr_Fetch(&type, &value, &traceback)
    PyErr_NormalizeException(&type, &value, &traceback)
    // An exception is pending, so both exist; `try?` cannot recurse.
    let none = PythonReference.none
    return PythonException(
      type: (type.flatMap { try? PythonReference(owning: $0) }) ?? none,
      value: (value.flatMap { try? PythonReference(owning: $0) }) ?? none,
      traceback: traceback.flatMap { try? PythonReference(owning: $0) })
  }

  /// Raises it again.
  func restore() { PyErr_Restore(type.handedOver(), value.handedOver(), traceback?.handedOver()) }

  /// Whether the exception is of `expected` or of a subclass.
  func isInstance(of expected: ExceptionClass) -> Bool {
    value.borrow { value in
      Exceptions.current[expected].borrow { PyErr_GivenExceptionMatches(value, $0) != 0 }
    }
  }

  /// `ValueError: the text`.
  var description: String {
    guard let text = value.borrow({ PyObject_Str($0) }).flatMap({ try? PythonReference(owning: $0).string("") }),
      !text.isEmpty
    else {
      PyErr_Clear()
      return value.className
    }
    return "\(value.className): \(text)"
  }
}

/// Somebody pressed Ctrl-C.
struct Interrupted: Error, CustomStringConvertible {
  var description: String { "Interrupted." }
}

/// Runs Python's pending signal handlers: throws ``Interrupted`` after a Ctrl-C. A long loop calls it now and then.
func checkInterrupted() throws {
  guard PyErr_CheckSignals() != 0 else { return }
  let exception = PythonException.pending()
  throw exception.isInstance(of: .keyboardInterrupt) ? Interrupted() : exception
}
