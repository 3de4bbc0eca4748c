internal import CPython

/// A Python class whose instances each hold one Swift object. It has no subclasses.
///
/// `repr()` and `str()` of an instance are the object's debug description and description. Python's cycle collector does
/// not look inside: an object that holds a Python object which leads back to its instance is never freed.
struct PythonClass {
  /// The class.
  let type: PythonReference

  /// Creates the class. Its name and documentation are the constructor's.
  init(constructor: CFunction, methods: [CFunction]) throws {
    guard let description = FunctionDescription(of: constructor) else {
      throw InvalidArgument("A class of iommulens has a constructor without a name.")
    }
    let documentation = immortal(description.documentation(receiver: nil))
    let deallocate: destructor = { PythonClass.deallocate($0) }
    let describe: reprfunc = { PythonClass.text(of: $0) { String(describing: $0) } }
    let debugDescribe: reprfunc = { PythonClass.text(of: $0) { String(reflecting: $0) } }
    var slots = [
      PyType_Slot(slot: Py_tp_doc, pfunc: UnsafeMutableRawPointer(mutating: documentation)),
      PyType_Slot(slot: Py_tp_new, pfunc: unsafeBitCast(constructor, to: UnsafeMutableRawPointer.self)),
      PyType_Slot(slot: Py_tp_dealloc, pfunc: unsafeBitCast(deallocate, to: UnsafeMutableRawPointer.self)),
      PyType_Slot(slot: Py_tp_repr, pfunc: unsafeBitCast(debugDescribe, to: UnsafeMutableRawPointer.self)),
      PyType_Slot(slot: Py_tp_str, pfunc: unsafeBitCast(describe, to: UnsafeMutableRawPointer.self)),
      PyType_Slot(slot: Py_tp_methods, pfunc: methodTable(methods, receiver: "$self")),
      PyType_Slot(),
    ]
    type = try slots.withUnsafeMutableBufferPointer { slots in
      var spec = PyType_Spec(
        name: immortal("\(PythonModule.qualifiedName).\(description.signature.name)"),
        basicsize: Int32(MemoryLayout<CPython_Instance>.size), itemsize: 0, flags: CPython_classFlags(),
        slots: slots.baseAddress)
      return try PythonReference(owning: PyType_FromSpec(&spec))
    }
  }

  /// A new instance that holds `object`, for a function that returns one.
  func makeInstance(holding object: AnyObject) throws -> PythonReference {
    try type.borrow { try PythonClass.makeInstance(of: $0, holding: object) }
  }

  static func makeInstance(of type: BorrowedObject?, holding object: AnyObject) throws -> PythonReference {
    let instance = try PythonReference(owning: PyType_GenericAlloc(type.map { OpaquePointer($0) }, 0))
    instance.borrow { layout($0).pointee.object = Unmanaged.passRetained(object).toOpaque() }
    return instance
  }

  /// The object that `instance` holds.
  static func object(in instance: BorrowedObject?) -> AnyObject? {
    guard let instance, let object = layout(instance).pointee.object else { return nil }
    return Unmanaged<AnyObject>.fromOpaque(object).takeUnretainedValue()
  }

  private static func deallocate(_ instance: BorrowedObject?) {
    guard let instance else { return }
    let type = instance.pointee.ob_type
    if let object = layout(instance).pointee.object {
      layout(instance).pointee.object = nil
      Unmanaged<AnyObject>.fromOpaque(object).release()
    }
    if let free = PyType_GetSlot(type, Py_tp_free) {
      unsafeBitCast(free, to: freefunc.self)(instance)
    }
    // An instance of a class made by PyType_FromSpec owns a reference to its class, since Python 3.8.
    if let type { Py_DecRef(BorrowedObject(type)) }
  }

  private static func text(of instance: BorrowedObject?, _ describe: (AnyObject) -> String) -> BorrowedObject? {
    do {
      guard let object = object(in: instance) else { throw InvalidArgument("This object was never constructed.") }
      return try PythonValue.string(describe(object)).makeObject().handedOver()
    } catch {
      Exceptions.current.raise(error)
      return nil
    }
  }

  /// Methods are called on instances of their class only, Python sees to that, so this is the memory's type.
  private static func layout(_ instance: BorrowedObject) -> UnsafeMutablePointer<CPython_Instance> {
    UnsafeMutableRawPointer(instance).assumingMemoryBound(to: CPython_Instance.self)
  }
}
