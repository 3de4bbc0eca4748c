internal import IOMMUModel
internal import PageTables

// What is asked of the debugger when it holds QEMU itself: `process`, `architecture`, `callers` and `argument`.

extension PythonTarget: HostTarget {
  func process() -> Int32? {
    (try? ask("process") { try $0.isNone ? nil : Int32(exactly: $0.int("process()")) }) ?? nil
  }

  func architecture() -> String { (try? ask("architecture") { try $0.string("architecture()") }) ?? "unknown" }

  func read(_ address: HVA, count: Int) throws(TargetError) -> [UInt8] {
    try ask("read_virtual", .init(address), .integer(count)) { try $0.bytes("read_virtual()") }
  }

  func callers(of function: String, limit: Int) -> [String] {
    (try? ask("callers", .string(function), .integer(limit)) {
      try $0.list("callers()", of: PythonReference.string)
    }) ?? []
  }

  func argument(_ name: String, ofCaller depth: Int, above function: String) -> UInt64? {
    (try? ask("argument", .string(function), .integer(depth), .string(name)) {
      try $0.isNone ? nil : $0.uint64("argument()")
    }) ?? nil
  }
}
