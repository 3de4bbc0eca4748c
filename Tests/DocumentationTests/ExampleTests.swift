import Evidence
import Foundation
import IOMMUModel
import Investigation
import PageTables
import Testing

/// The code in the library's articles is the code of Examples, and does what the articles say.
@Suite struct ExampleTests {
  static let articles = [
    "Sources/IOMMUModel/IOMMUModel.docc/AddingAnIOMMU.md", "Sources/PageTables/PageTables.docc/AddingAMemorySource.md",
  ]

  @Test(arguments: articles) func theArticlesShowCompiledCode(path: String) throws {
    let folder = Document.top + "/Tests/DocumentationTests/"
    let sources = try ["Examples/ExampleIOMMU.swift", "Examples/DumpedMemory.swift", "ExampleTests.swift"].map {
      try String(contentsOfFile: folder + $0, encoding: .utf8)
    }
    let blocks = try Document(path).blocks
    #expect(blocks.count >= 2)
    for block in blocks {
      #expect(block.words == ["swift"])
      let shown = Self.unindented(block.lines)
      #expect(
        sources.contains { Self.unindented($0.components(separatedBy: "\n")[...]).contains(shown) },
        "\(path):\(block.range.lowerBound): no source has this code.")
    }
  }

  /// Code in a test stands further to the right than in an article.
  private static func unindented(_ lines: ArraySlice<String>) -> String {
    lines.map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: "\n")
  }

  // MARK: The memory source

  /// Three tables at the dump's start: root, level 1, level 0, with a leaf for 0xfffff000.
  private static let dump: [UInt8] = {
    var bytes = [UInt8](repeating: 0, count: 3 * 4096)
    func store(_ word: UInt64, at offset: Int) {
      for byte in 0..<8 { bytes[offset + byte] = UInt8(truncatingIfNeeded: word >> (8 * byte)) }
    }
    store((0x8000_1000 >> 12) << 10 | 1, at: 3 * 8)
    store((0x8000_2000 >> 12) << 10 | 1, at: 4096 + 511 * 8)
    store((0x1_0617_2000 >> 12) << 10 | 7, at: 8192 + 511 * 8)
    return bytes
  }()

  @Test func theMemorySourceIsWalked() throws {
    let dump = Self.dump
    let memory = DumpedMemory(base: GPA(0x8000_0000), bytes: dump)
    let walk = PagingMode.sv39.geometry.walk(IOVA(0xffff_f000), root: GPA(0x8000_0000), in: memory)
    #expect(walk.target == GPA(0x1_0617_2000))
    for (address, count, failing) in [
      (GPA(0x7fff_fff8), 8, GPA(0x7fff_fff8)), (GPA(0x8000_3000), 1, GPA(0x8000_3000)),
      (GPA(0x8000_2ffc), 8, GPA(0x8000_3000)), (GPA(.max), 8, GPA(.max)), (GPA(0), 1, GPA(0)),
    ] {
      let error = #expect(throws: UnreadableMemory.self) { try memory.bytes(at: address, count: count) }
      #expect(error?.address == failing)
    }
  }

  // MARK: The IOMMU

  /// A log of its calls becomes an investigation.
  @Test func theTenantReadsItsCalls() throws {
    let log = """
      function,domain,iova,paddr,size,prot
      example_map,0xff60000000440220,0xfffff000,0x106172000,0x2000,3
      example_unmap,0xff60000000440220,0xfffff000,,0x2000,
      """
    let path = FileManager.default.temporaryDirectory.appending(path: "iommulens-\(UUID().uuidString)").path
    defer { for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) } }
    let store = try InvestigationStore(path: path, side: "test")
    let extraction = EvidenceReader(profiles: ExampleIOMMU.profiles).read(Array(log.utf8), name: "calls.csv")
    _ = try EvidenceImport([extraction], into: store, profiles: ExampleIOMMU.profiles)
    let calls = try store.calls()
    #expect(calls.map(\.call.kind) == [.map, .unmap])
    #expect(calls.first?.call.protection == [.read, .write] && calls.first?.call.length == 0x2000)
    _ = try Findings(offline: store, tenants: [ExampleIOMMU.self])
    let call = try #require(calls.first?.call)
    let leaves = ExampleDriver().leaves(of: call, mode: .sv39)
    #expect(leaves.map(\.count) == [2] && leaves.first?.first.address == GPA(0x1_0617_2000))
    #expect(throws: TargetError.self) { try ExampleDriver().call(ExampleDriver().functions[0], arguments: [1, 2]) }
  }

  @Test func theDeviceWalks() {
    let memory = DumpedMemory(base: GPA(0x8000_0000), bytes: Self.dump)
    func result(_ iova: UInt64, _ access: Access, root: UInt64 = 0x8000_0000) -> DeviceTranslation.Result {
      ExampleDevice().translate(
        IOVA(iova), access: access, requester: RequesterID(rawValue: 8),
        registers: RegisterValues(byOffset: [0: root]), memory: memory
      ).result
    }
    #expect(result(0xffff_f010, .readWrite) == .translated(GPA(0x1_0617_2010)))
    #expect(result(0x1000, .read) == .refused(FaultCause(code: 1, name: "NO_MAPPING")))
    #expect(result(0x1000, .read, root: 0) == .bypassed("ROOT is 0"))
    #expect(
      result(0xffff_f000, .read, root: 0x9000_0000)
        == .unreadable(
          UnreadableMemory(address: GPA(0x9000_0018), reason: "outside the dump")))
  }
}
