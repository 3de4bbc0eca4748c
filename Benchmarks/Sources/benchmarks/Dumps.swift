import Baselines
import Foundation
import Images
import Investigation
import PageTables

/// Dumps of tables in memory (P1 to P5).
enum Dumps {
  /// The rows, with 2^`leavesLog2` leaves where the image is not sparse.
  static func rows(_ extent: Extent) throws -> [Row] {
    let log2 = extent == .full ? 24 : 21
    let shapes = Image.Shape.allCases
    let found = try Measurement.interleaved(shapes.map { ["dump", $0.rawValue, "\(log2)"] })
    func of(_ shape: Image.Shape) -> [[String: Double]] { shapes.firstIndex(of: shape).map { found[$0] } ?? [] }
    let (runs, rand, sparse) = (of(.runs), of(.rand), of(.sparse))
    func perEntry(_ figures: [[String: Double]], _ name: String) -> String {
      text(figures.median { $0(name) / $0("leaves") } * 1e9)
    }
    func beside(_ figures: [[String: Double]]) -> String {
      "memcpy \(perEntry(figures, "memcpy")), sum \(perEntry(figures, "sum")), obvious C "
        + "\(perEntry(figures, "c")) (cold \(perEntry(figures, "c-cold"))) ns"
    }
    let p1 = runs.median { $0("dump") / $0("memcpy") }
    let p2 = rand.median { $0("dump") / $0("memcpy") }
    let p2c = rand.median { $0("c-cold") / $0("dump") }
    let p3 = sparse.median { $0("dump") / $0("pages") } * 1e6
    func perPage(_ name: String) -> String { text(sparse.median { $0(name) / $0("pages") } * 1e6) }
    let p3sum = sparse.median { $0("dump") / $0("sum") }
    return [
      Row(
        id: "P1", what: "dump, runs 2^\(log2), warm", figure: "\(perEntry(runs, "dump")) ns/PTE",
        ratio: "\(text(p1)) x memcpy", goal: "<= 1.15 x", verdict: extent.ratio(p1, atMost: 1.15), note: beside(runs)),
      Row(
        id: "P2", what: "dump, rand 2^\(log2), streamed, warm", figure: "\(perEntry(rand, "dump")) ns/PTE",
        ratio: "\(text(p2)) x memcpy", goal: "<= 4 x", verdict: extent.ratio(p2, atMost: 4), note: beside(rand)),
      Row(
        id: "P2", what: "the same against obvious C, cold", figure: "\(perEntry(rand, "c-cold")) ns/PTE in C",
        ratio: "\(text(p2c)) x faster", goal: ">= 4 x", verdict: extent.ratio(p2c, atLeast: 4)),
      Row(
        id: "P3", what: "dump, 1,000 leaves over 512 GiB", figure: "\(text(p3)) us/table page",
        ratio: "\(text(p3sum)) x sum", goal: "<= 0.2 us", verdict: extent.time(p3 <= 0.2),
        note: "memcpy \(perPage("memcpy")), sum \(perPage("sum")) us"),
      try memory(extent, leavesLog2: log2),
      try peer(extent, dump: runs.median { $0("dump") / $0("leaves") }),
    ]
  }

  /// The peak of a process that has the tables, dumps them, and does nothing else.
  private static func memory(_ extent: Extent, leavesLog2: Int) throws -> Row {
    let (output, peak) = try Measurement.run(
      Measurement.executable.deletingLastPathComponent().appendingPathComponent("dump-alone"), ["\(leavesLog2)"])
    guard let bytes = Double(output.trimmingCharacters(in: .whitespacesAndNewlines)) else {
      throw InvestigationError("dump-alone said: \(output)")
    }
    let mebi = Double(0x10_0000)
    return Row(
      id: "P4", what: "peak memory of a process that dumps runs 2^\(leavesLog2)", figure: "\(text(peak / mebi)) MiB",
      ratio: "tables + \(text((peak - bytes) / mebi)) MiB", goal: "tables + 16 MiB",
      verdict: extent.ratio((peak - bytes) / (16 * mebi), atMost: 1), note: "tables \(text(bytes / mebi)) MiB")
  }

  /// The decoding of gdb-pt-dump, of which a user has a checkout, on the same bytes.
  private static func peer(_ extent: Extent, dump: Double) throws -> Row {
    let (log2, goal) = (18, 1500.0)
    let what = "dump against gdb-pt-dump, decode only, runs 2^\(log2)"
    guard let checkout = ProcessInfo.processInfo.environment["GDB_PT_DUMP"], !checkout.isEmpty else {
      return Row(
        id: "P5", what: what, figure: "not measured", goal: ">= 1500 x", verdict: .unjudged,
        note: "git clone https://github.com/martinradev/gdb-pt-dump, then make bench GDB_PT_DUMP=its folder")
    }
    let found = try (0..<3).map { _ in try Measurement.inProcess(["peer", checkout, "\(log2)"]) }
    let ratio = found.median { $0("peer") / $0("dump") }
    return Row(
      id: "P5", what: what, figure: "\(text(found.median { $0("peer") / $0("leaves") } * 1e9)) ns/PTE there",
      ratio: "\(text(ratio)) x faster", goal: ">= 1500 x", verdict: extent.ratio(ratio, atLeast: goal))
  }

  /// In a process of its own: the peer's decoding and ours of one image.
  static func measurePeer(_ checkout: String, leavesLog2: Int) throws {
    let image = Image(.runs, leavesLog2: leavesLog2)
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("iommulens-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data(image.tableBytes).write(to: file)
    let (line, _) = try Measurement.run(
      URL(fileURLWithPath: "/usr/bin/env"),
      ["python3", "peers/gdb-pt-dump.py", checkout, file.path, "\(image.root.rawValue)"])
    let words = line.split(whereSeparator: \.isWhitespace)
    guard words.count == 2, let seconds = Double(words[0]), let mappings = Int(words[1]) else {
      throw InvestigationError("peers/gdb-pt-dump.py did not say how long it took.")
    }
    let ours = mappingCount(image)
    guard ours == mappings else { throw InvestigationError("gdb-pt-dump found \(mappings) mappings, not \(ours).") }
    print("peer \(seconds)\ndump \(warm { _ = mappingCount(image) })\nleaves \(image.leaves)")
  }

  /// In a process of its own: the dump and what it is measured against, on one image.
  static func measure(_ shape: Image.Shape, leavesLog2: Int) throws {
    let image = Image(shape, leavesLog2: leavesLog2)
    let bytes = image.tableBytes
    let memory = baseline_memory(
      bytes: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), base: image.root.rawValue)
    func inC() -> UInt64 {
      var count = 0
      let mappings = baseline_dump(memory, image.root.rawValue, &count)
      defer { free(mappings) }
      return UnsafeBufferPointer(start: mappings, count: count).reduce(0) { $0 &+ $1.size }
    }
    // The first thing that takes much memory: its output has no page yet.
    var fromC: UInt64 = 0
    let cold = Measurement.time { fromC = inC() }
    guard fromC == mappedBytes(image) else { throw InvestigationError("The dump and its baseline in C differ.") }
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 4096)
    defer { copy.deallocate() }
    var total: UInt64 = 0
    // A turn of each, so that a slow moment of the machine hits all.
    var times: [[Double]] = [[], [], [], []]
    let repeats = max(1, (1 << 15) / image.pages)
    for round in 0..<6 {
      let turn = [
        Measurement.time { for _ in 0..<repeats { baseline_copy(copy.baseAddress, bytes.baseAddress, bytes.count) } },
        Measurement.time { for _ in 0..<repeats { total &+= baseline_sum(memory, image.root.rawValue) } },
        Measurement.time { for _ in 0..<repeats { total &+= mappedBytes(image) } },
        Measurement.time { for _ in 0..<repeats { total &+= inC() } },
      ]
      // The first one warms up.
      if round > 0 { for (place, time) in turn.enumerated() { times[place].append(time / Double(repeats)) } }
    }
    withExtendedLifetime(total) {}
    print("leaves \(image.leaves)\npages \(image.pages)")
    print(
      "c-cold \(cold)\nmemcpy \(times[0].median)\nsum \(times[1].median)\ndump \(times[2].median)\nc \(times[3].median)"
    )
  }

  private static func warm(_ body: () -> Void) -> Double {
    body()
    return (0..<5).map { _ in Measurement.time(body) }.median
  }

  // Each sums up in a variable of its own: one that several closures share is looked at on every access.

  private static func mappedBytes(_ image: Image) -> UInt64 {
    var sum: UInt64 = 0
    PagingMode.sv39.dump(root: image.root, in: image).forEach(
      mappings: { for index in $0.indices { sum &+= $0[index].size } }, other: { _ in })
    return sum
  }

  private static func mappingCount(_ image: Image) -> Int {
    var count = 0
    PagingMode.sv39.dump(root: image.root, in: image).forEach(mappings: { count += $0.count }, other: { _ in })
    return count
  }
}
