import Glibc
import GuestMemory
import PageTables
import Randomness
import Testing

/// Every source, filled with the same random pages, against the bytes themselves.
@Suite struct SourcePropertyTests {
  /// The guest: what each page holds. A read is right when it is these bytes, or fails at the first address without
  /// any.
  private struct Oracle {
    var pages: [GPA: [UInt8]] = [:]

    func read(_ address: GPA, _ count: Int) -> Result<[UInt8], FirstHole> {
      var bytes: [UInt8] = []
      while bytes.count < count {
        let position = address + UInt64(bytes.count)
        guard position >= address, let page = pages[position.page] else {
          return .failure(FirstHole(address: position))
        }
        bytes += page[position.pageOffset...].prefix(count - bytes.count)
      }
      return .success(bytes)
    }

    /// Runs of neighbouring pages.
    var runs: [(start: GPA, bytes: [UInt8])] {
      var runs: [(start: GPA, bytes: [UInt8])] = []
      for (page, bytes) in pages.sorted(by: { $0.key < $1.key }) {
        if let last = runs.last, last.start + UInt64(last.bytes.count) == page {
          runs[runs.count - 1].bytes += bytes
        } else {
          runs.append((page, bytes))
        }
      }
      return runs
    }
  }

  private struct FirstHole: Error, Equatable { let address: GPA }

  private static let bases: [UInt64] = [0, 0x8000_0000, 0x1_0000_0000, 0x7fff_ffff_0000_0000, 0xffff_ffff_ffff_8000]

  private static func oracle(_ random: inout SeededNumbers) -> Oracle {
    var oracle = Oracle()
    for base in bases where base == 0x8000_0000 || Bool.random(using: &random) {
      for slot in 0..<8 where Int.random(in: 0..<4, using: &random) > 0 {
        oracle.pages[GPA(base + UInt64(slot * 4096))] = random.bytes(4096)
      }
    }
    oracle.pages[GPA(0x8000_0000)] = random.bytes(4096)
    return oracle
  }

  private func check(_ source: some PhysicalMemory, _ oracle: Oracle, _ random: inout SeededNumbers, name: String) {
    let seed: Comment = "\(name), IOMMULENS_SEED=\(random.seed)"
    for _ in 0..<150 {
      let base = Self.bases.randomElement(using: &random) ?? 0
      let address = GPA(base &+ UInt64.random(in: 0..<0x8800, using: &random))
      let count = Int.random(in: 0...(Bool.random(using: &random) ? 16 : 14000), using: &random)
      let found: Result<[UInt8], FirstHole>
      do { found = .success(try source.bytes(at: address, count: count)) } catch {
        found = .failure(FirstHole(address: error.address))
      }
      #expect(found == oracle.read(address, count), seed)

      let page = address.page
      if let pointer = source.residentPage(page) {
        #expect([UInt8](UnsafeRawBufferPointer(start: pointer, count: 4096)) == oracle.pages[page], seed)
      }

      let some = (0..<6).map { _ in GPA(base &+ UInt64(Int.random(in: 0..<8, using: &random) * 4096)) }
      var buffer = [UInt8](repeating: 0, count: 6 * 4096)
      let read = buffer.withUnsafeMutableBytes { source.readPages(some, into: $0) }
      let wanted = some.prefix { oracle.pages[$0] != nil }
      #expect(read == wanted.count, seed)
      let expected: [UInt8] = wanted.flatMap { oracle.pages[$0] ?? [] }
      #expect(Array(buffer.prefix(expected.count)) == expected, seed)
    }
  }

  @Test func everySourceAgreesWithTheBytesThemselves() throws {
    var random = SeededNumbers()
    for _ in 0..<6 {
      let oracle = Self.oracle(&random)
      let runs = oracle.runs
      let folder = try TemporaryFolder()

      check(try SnapshotMemory(pages: oracle.pages), oracle, &random, name: "snapshot")

      var core = CoreWriter(usesExtendedNumbering: Bool.random(using: &random))
      core.segments = runs.shuffled(using: &random).map {
        CoreWriter.Segment(physical: $0.start.rawValue, bytes: $0.bytes)
      }
      check(
        try ELFCoreMemory(path: try folder.file("core", core.bytes)), oracle, &random, name: "core")

      var regions: [MappedFileMemory.Region] = []
      for (number, run) in runs.enumerated() {
        let lead = Int.random(in: 0..<9000, using: &random)
        let path = try folder.file("ram\(number)", random.bytes(lead) + run.bytes)
        regions.append(
          MappedFileMemory.Region(
            range: try MemoryRange(start: run.start, size: UInt64(run.bytes.count)), path: path,
            fileOffset: UInt64(lead)))
      }
      check(try MappedFileMemory(regions: regions.shuffled(using: &random)), oracle, &random, name: "mapped files")

      let ranges = try runs.map { try MemoryRange(start: $0.start, size: UInt64($0.bytes.count)) }
      let callable = CallableMemory(ranges: Bool.random(using: &random) ? ranges : nil) { address, count in
        try oracle.read(address, count).get()
      }
      check(callable, oracle, &random, name: "callable")

      let held = runs.map { run in
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: run.bytes.count, alignment: 8)
        copy.copyBytes(from: run.bytes)
        return copy
      }
      defer { held.forEach { $0.deallocate() } }
      let places = zip(ranges, held).map { range, copy in
        ProcessMemory.Region(range: range, host: HVA(UInt64(UInt(bitPattern: copy.baseAddress))))
      }
      check(try ProcessMemory(pid: getpid(), regions: places), oracle, &random, name: "process")

      // The pages dealt out to three sources; what a later one has under an earlier one is wrong on purpose.
      var hands: [[GPA: [UInt8]]] = [[:], [:], [:]]
      for (page, bytes) in oracle.pages {
        let owner = Int.random(in: 0..<3, using: &random)
        hands[owner][page] = bytes
        for later in owner + 1..<3 where Bool.random(using: &random) { hands[later][page] = random.bytes(4096) }
      }
      let second = hands[1]
      let overlay = OverlayMemory([
        try SnapshotMemory(pages: hands[0]),
        CallableMemory { address, count in try Oracle(pages: second).read(address, count).get() },
        try SnapshotMemory(pages: hands[2]),
      ])
      check(overlay, oracle, &random, name: "overlay")
    }
  }
}
