public import CPython
internal import IOMMUModel
internal import Investigation
internal import PageTables
internal import RISCVIOMMU
internal import Reports
internal import XuanTie

/// The IOMMU families that the extension knows.
let tenants: [any Tenant.Type] = [XuanTie.self, RISCVIOMMU.self]

/// Creates the module `iommulens._core`: what Python calls when it imports `_core.abi3.so`.
@c(PyInit__core) public func createModule() -> UnsafeMutablePointer<PyObject>? {
  do {
    let module = try PythonModule(functions: pageTableFunctions + [copyFunction, styledFunction])
    try Exceptions.add(to: module)
    try module.add("version", "0.1.0")
    try module.add("modes", .init(PagingMode.allCases.map(\.rawValue)))
    try module.add("flag_letters", .string(PageTableEntry.Flags.allLetters))
    try module.add(PythonClass(constructor: pageTableConstructor, methods: pageTableMethods))
    try module.add(PythonClass(constructor: sessionConstructor, methods: sessionMethods))
    try module.add(PythonClass(constructor: investigationConstructor, methods: investigationMethods))
    return module.reference.handedOver()
  } catch {
    Exceptions.current.raise(error)
    return nil
  }
}

/// Lets the tests see both directions of the conversion.
private let copyFunction: CFunction = {
  function(
    $0, $1, $2, "_copy(value)",
    "A deep copy of plain values: None, bool, int, float, str, bytes, and lists and dicts of these."
  ) { arguments in try arguments.value("value") }
}

/// Marks a text for a terminal.
private let styledFunction: CFunction = {
  function(
    $0, $1, $2, "styled(text, styles)",
    """
    A text of a session with a terminal's styles in it.

    `styles` has the escape sequence that begins each of `address`, `function`, `title` and `highlight`; one that is missing or
    empty leaves its part plain.
    """
  ) { arguments in
    var starts: [Styling.Style: String] = [:]
    guard case .dictionary(let styles) = try arguments.value("styles") else {
      throw ArgumentTypeError("styles must be a dict.")
    }
    for (name, start) in styles {
      guard let style = Styling.Style(rawValue: name), case .string(let start) = start else {
        let known = Styling.Style.allCases.map(\.rawValue).joined(separator: ", ")
        throw InvalidArgument("styles must have texts by the names \(known), not '\(name.prefix(40))'.")
      }
      starts[style] = start
    }
    return .string(Styling(starts: starts).apply(to: try arguments.string("text")))
  }
}

/// The module while it is being filled.
struct PythonModule {
  /// The module's name as part of the Python package.
  static let qualifiedName = "iommulens._core"

  let reference: PythonReference

  /// A module with these functions.
  init(functions: [CFunction]) throws {
    // Python keeps the definition as long as the process lives.
    let definition = UnsafeMutablePointer<PyModuleDef>.allocate(capacity: 1)
    definition.initialize(to: PyModuleDef())
    reference = try PythonReference(
      owning: CPython_createModule(
        definition, immortal(PythonModule.qualifiedName), immortal("What IOMMULens knows, for Python."),
        methodTable(functions, receiver: "$module")))
  }

  /// Adds a name.
  func add(_ name: String, _ value: PythonValue) throws { try reference.setAttribute(name, to: value) }

  /// Adds a class under its own name.
  func add(_ type: PythonClass) throws {
    try add(try type.type.attribute("__name__").string("__name__"), .object(type.type))
  }
}
