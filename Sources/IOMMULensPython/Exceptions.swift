internal import CPython
internal import GuestMemory
internal import IOMMUModel
internal import Investigation
internal import PageTables
internal import Reports

// Which Python exception a Swift error becomes.

/// An argument of the right type with a value that makes no sense.
struct InvalidArgument: Error, CustomStringConvertible {
  /// A whole sentence that names the argument.
  let description: String
  init(_ description: String) { self.description = description }
}

/// An argument of the wrong type, one too many, one too few.
struct ArgumentTypeError: Error, CustomStringConvertible {
  /// What Python would say of its own functions.
  let description: String
  init(_ description: String) { self.description = description }
}

/// Calls that went through this library again and again without returning.
struct TooDeep: Error, CustomStringConvertible {
  var description: String { "A callable passed to iommulens keeps calling iommulens." }
}

/// The exception classes in use: the module's own and some of Python's.
enum ExceptionClass: String, CaseIterable {
  case error = "Error"
  case unreadableMemory = "UnreadableMemory"
  case invalidArgument = "InvalidArgument"
  case investigationError = "InvestigationError"
  case targetError = "TargetError"
  case typeError = "TypeError"
  case recursionError = "RecursionError"
  case keyboardInterrupt = "KeyboardInterrupt"

  /// Python's own class; nil for one that this module creates.
  var builtin: BorrowedObject? {
    switch self {
    case .typeError: CPython_typeError()
    case .recursionError: CPython_recursionError()
    case .keyboardInterrupt: CPython_keyboardInterrupt()
    case .error, .unreadableMemory, .invalidArgument, .investigationError, .targetError: nil
    }
  }

  /// What `help()` says about a class of this module.
  var documentation: String {
    switch self {
    case .unreadableMemory:
      "Guest memory that cannot be read. `address` is the first such address, `reason` a phrase that says why; raise it "
        + "from a memory callable to say so."
    case .invalidArgument: "An argument with a value that makes no sense."
    case .investigationError: "An investigation file that cannot be opened, read or written."
    case .targetError: "Something that the debugger or its target refused."
    case .error, .typeError, .recursionError, .keyboardInterrupt: "The base of this module's exceptions."
    }
  }
}

/// One line of the table: the Swift errors it is about, their exception, and the attributes that the exception carries.
struct ExceptionRule: Sendable {
  let classify: @Sendable (any Error) -> (ExceptionClass, [(String, PythonValue)])?

  /// Errors of one type, told apart by `classify`.
  init<Failure: Error>(
    _ type: Failure.Type, classify: @escaping @Sendable (Failure) -> (ExceptionClass, [(String, PythonValue)])
  ) {
    self.classify = { error in (error as? Failure).map(classify) }
  }

  /// All errors of one type.
  init<Failure: Error>(_ type: Failure.Type, _ exception: ExceptionClass) { self.init(type) { _ in (exception, []) } }

  /// The table. An error that no line is about becomes `Error`.
  static let table: [ExceptionRule] = [
    ExceptionRule(UnreadableMemory.self) { error in
      (.unreadableMemory, [("address", .init(error.address)), ("reason", .init(error.reason))])
    },
    ExceptionRule(TargetError.self, .targetError),
    ExceptionRule(MemoryError.self, .targetError),
    ExceptionRule(InvestigationError.self, .investigationError),
    ExceptionRule(InvalidArgument.self, .invalidArgument),
    ExceptionRule(ReportError.self, .invalidArgument),
    ExceptionRule(ArgumentTypeError.self, .typeError),
    ExceptionRule(TooDeep.self, .recursionError),
    ExceptionRule(Interrupted.self, .keyboardInterrupt),
  ]
}

/// The exception classes once they exist.
struct Exceptions {
  /// Set when the module is created, never changed after.
  nonisolated(unsafe) static var current = Exceptions(classes: [:])

  private var classes: [ExceptionClass: PythonReference]

  /// Creates the module's classes and adds them to `module`.
  static func add(to module: PythonModule) throws {
    var classes: [ExceptionClass: PythonReference] = [:]
    for exception in ExceptionClass.allCases where exception.builtin == nil {
      let bases: PythonReference
      switch (exception, classes[.error]) {
      case (.invalidArgument, let error?):
        bases = try .tuple([error, PythonReference(borrowing: CPython_valueError())])
      case (_, let error?): bases = error
      case (_, nil): bases = PythonReference(borrowing: CPython_exception())
      }
      let attributes: PythonValue = exception == .unreadableMemory ? ["address": nil, "reason": nil] : [:]
      let dictionary = try attributes.makeObject()
      let created = try PythonReference(
        owning: bases.borrow { bases in
          dictionary.borrow {
            PyErr_NewExceptionWithDoc(
              "\(PythonModule.qualifiedName).\(exception.rawValue)", exception.documentation, bases, $0)
          }
        })
      classes[exception] = created
      try module.add(exception.rawValue, .object(created))
    }
    current = Exceptions(classes: classes)
  }

  /// The class for `exception`.
  subscript(exception: ExceptionClass) -> PythonReference {
    classes[exception] ?? PythonReference(borrowing: exception.builtin ?? CPython_systemError())
  }

  /// A text without its middle where it is longer than anybody reads: it quotes an argument of any length.
  private static func brief(_ text: String) -> String {
    let limit = 1000
    guard text.utf8.count > limit else { return text }
    return "\(text.prefix(limit / 2)) ... \(text.suffix(limit / 2))"
  }

  /// Makes `error` Python's pending exception.
  func raise(_ error: any Error) {
    if let exception = error as? PythonException {
      exception.restore()
      return
    }
    let (kind, attributes) = ExceptionRule.table.lazy.compactMap { $0.classify(error) }.first ?? (.error, [])
    let type = self[kind]
    do {
      let exception = try type.call(.string(Self.brief(String(describing: error))))
      for (name, value) in attributes { try exception.setAttribute(name, to: value) }
      type.borrow { type in exception.borrow { PyErr_SetObject(type, $0) } }
    } catch {
      // Python could not even create the exception (no memory): its own complaint goes out instead.
      (error as? PythonException ?? .pending()).restore()
    }
  }
}
