import PageTables

/// The goals that can be measured without a guest.
@main struct Benchmarks {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    switch arguments.first {
    case "store": try Events.store(Array(arguments.dropFirst()))
    case "check": try Events.measureCheck(arguments.last ?? "")
    case "events": try Events.run()
    default:
      dumps()
      try Events.run()
    }
  }

  /// Dumps of big tables, each against a memcpy of the same bytes in the same run. Figures are ratios: they mean the same
  /// on every machine.
  private static func dumps() {
    let log2 = CommandLine.arguments.dropFirst().first.flatMap { Int($0) }.map { min(max($0, 9), 24) } ?? 21
    print("dump of 2^\(log2) leaves, median of 5, against memcpy of the tables")
    for shape in Image.Shape.allCases {
      let image = Image(shape, leavesLog2: log2)
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: image.tableBytes.count, alignment: 4096)
      defer { copy.deallocate() }
      var mapped: UInt64 = 0
      let memcpy = median { copy.copyMemory(from: image.tableBytes) }
      let dump = median {
        mapped = 0
        PagingMode.sv39.dump(root: image.root, in: image).forEach { mappings in
          for index in mappings.indices { mapped &+= mappings[index].size }
        } other: { _ in
        }
      }
      let perEntry = Double(dump.components.attoseconds / 1_000_000) / 1000 / Double(image.leaves)
      print(
        "  \(shape.rawValue): \(rounded(dump / memcpy)) x memcpy, \(rounded(perEntry)) ns per entry, \(mapped >> 20) MiB mapped"
      )
    }
  }

  /// The median time of five runs after one to warm up.
  private static func median(_ body: () -> Void) -> Duration {
    body()
    return (0..<5).map { _ in ContinuousClock().measure(body) }.sorted()[2]
  }

  /// Two decimals.
  private static func rounded(_ value: Double) -> Double { Double(Int(value * 100 + 0.5)) / 100 }
}
