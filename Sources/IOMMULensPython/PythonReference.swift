internal import CPython

// GDB runs Python on one thread and calls this library with the GIL held; the library starts no thread that touches
// Python and never releases the GIL. Everything marked `nonisolated(unsafe)` or `@unchecked Sendable` here rests on that.

/// A Python object that somebody else keeps alive for the moment, such as the arguments of a running call.
typealias BorrowedObject = UnsafeMutablePointer<PyObject>

/// One strong reference to a Python object, given back when the last Swift owner goes.
///
/// Must die on the thread that runs Python: do not hand one to a queue.
final class PythonReference: @unchecked Sendable {
  // Private, because Swift may release this reference right after somebody read the pointer: see `borrow(_:)`.
  private let object: BorrowedObject

  /// Takes over the new reference that a Python function returned; throws the exception that is pending when it returned
  /// none.
  init(owning object: BorrowedObject?) throws {
    guard let object else { throw PythonException.pending() }
    self.object = object
  }

  /// Adds a reference to an object that somebody else owns.
  init(borrowing object: BorrowedObject) {
    Py_IncRef(object)
    self.object = object
  }

  deinit { Py_DecRef(object) }

  /// Calls `body` with the object, which is alive until `body` returns.
  func borrow<Result>(_ body: (BorrowedObject) throws -> Result) rethrows -> Result {
    try withExtendedLifetime(self) { try body(object) }
  }

  /// A further strong reference, for a Python function that steals its argument or for the caller of a method.
  func handedOver() -> BorrowedObject {
    borrow { object in
      Py_IncRef(object)
      return object
    }
  }

  /// Python's `None`.
  static var none: PythonReference { PythonReference(borrowing: CPython_none()) }

  /// Whether this is `None`.
  var isNone: Bool { object == CPython_none() }

  /// The name of the object's class, `str`.
  var className: String {
    guard let type = try? PythonReference(owning: borrow { PyObject_Type($0) }),
      let name = try? type.attribute("__name__").string("__name__")
    else { return "object" }
    return name
  }
}

/// Throws the pending exception when a Python function returned -1.
func check(_ status: Int32) throws {
  if status < 0 { throw PythonException.pending() }
}
