import Foundation
import IOMMUModel
import Investigation
import PageTables
import Reports
import Simulation
import Testing

@testable import Evidence

/// What an import answers, word by word, and what it leaves in the investigation.
@Suite struct ImportTests {
  let workspace: Workspace
  let store: InvestigationStore

  init() throws {
    workspace = try Workspace()
    store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
  }

  private func take(_ texts: [(name: String, bytes: [UInt8])]) throws -> EvidenceImport {
    try EvidenceImport(texts.map { Texts.reader.read($0.bytes, name: $0.name) }, into: store, profiles: Texts.profiles)
  }

  private func answer(_ result: EvidenceImport) -> String {
    Terminal.imported(result, into: store, devices: Texts.profiles.map(\.device))
      .replacing(workspace.path + "/", with: "") + "\n"
  }

  /// The answers are in Fixtures/import, by the text's name with `-` for `/`.
  @Test(arguments: [
    "field-notes.txt", "pgdir-shift/console.log", "pgdir-shift/xt_iommu_map-first-3-stops.txt",
    "pgdir-shift/xt_iommu_unmap-first-2-stops.txt", "pgdir-shift/map-unmap-calls-first-120.csv",
    "pgdir-shift/qemu-bt-start_xmit-pci_dma_read.txt", "pgdir-shift/qemu-translate-first-60.csv",
    "pgdir-shift/qemu-translate-results.csv", "pgdir-shift/qemu-translate-runs.csv",
    "pgdir-shift/qemu-translate-returned-entry.txt", "pgdir-shift/qemu-state-later.txt",
    "pgdir-shift/registers-before-and-after.txt", "pgdir-shift/kernel-paging-values.txt",
    "cookie/xt_iommu_domain_alloc-first-2-stops.txt", "cookie/console-remove-rescan.log", "vfio/a-forced-console.log",
    "vfio/c-console-no-cache-coherency.log", "vfio/d-console-alias-with-pgdir-bug.log", "vfio/b-huge-pages-calls.csv",
    "riscv-iommu/fault-console.txt", "riscv-iommu/kernel.config.set", "riscv-iommu/main-map-unmap.csv",
  ])
  func answers(_ name: String) throws {
    let result = try take([(name, Texts.fixture(name))])
    try Texts.expect(answer(result), isFixture: "import/\(name.replacing("/", with: "-")).txt")
    // A second time there is nothing new.
    #expect(
      try answer(take([(name, Texts.fixture(name))])).hasPrefix(
        "\(name): \(counted(result.texts[0].extraction.lineCount)), imported before; nothing of it was added.\n"
          + "Nothing new for a.iommulens."))
  }

  private func counted(_ lines: Int) -> String { "\(lines) line\(lines == 1 ? "" : "s")" }

  @Test func whatFieldNotesLeave() throws {
    _ = try take([("field-notes.txt", Texts.fixture("field-notes.txt"))])
    let facts = try store.facts()
    #expect(facts[Fact.profile] == "xuantie/pages")
    #expect(facts[Fact.configuration] == "excerpt of 17 options: all as needed")
    #expect(
      facts[Fact.banner].flatMap(KernelVersion.init(banner:)) == KernelVersion(major: 6, minor: 4))
    #expect(SourceIndex.all(in: facts).map(\.shift) == ["PAGE_SHIFT", "PMD_SHIFT", "PGDIR_SHIFT"])
    #expect(try store.calls().map(\.origin) == ["field-notes.txt:371"])
    #expect(try store.translations().map(\.stride) == [0, 1, 4, 0])
    #expect(
      try store.logLines().map(\.meaning) == [.watchdog, .warning, .adapterReset, .dmaSetupFailed, .dmaSetupFailed])
    // The file names its driver, so that everything that works offline works on it.
    let findings = try Findings(offline: store, tenants: Scenario.tenants)
    #expect(findings.calls.count == 1 && findings.profile.identifier == "xuantie/pages")
  }

  @Test func tracedCallsKeepWhatIsNotKnown() throws {
    let trace = "x-1 [0] 1.0: map: IOMMU: iova=0x1000 - 0x2000 paddr=0x9000 size=4096\n"
    _ = try take([("trace", Array(trace.utf8))])
    let call = try #require(try store.calls().first?.call)
    #expect(call.function == "iommu:map" && call.protection == nil && call.target == GPA(0x9000))
    // A trace point is of no driver's.
    #expect(try store.facts()[Fact.profile] == nil)
    #expect(Terminal.call(try #require(try store.calls().first), version: nil).hasSuffix("->  0x9000   prot not known"))
  }

  @Test func severalTexts() throws {
    let banner = "[    0.0] Linux version 6.1.192 (x)\n"
    let warning =
      "[    1.0] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n[    1.1] CPU: 0 PID: 1 Comm: init Not tainted 6.4.0 #8\n"
    let config = "CONFIG_VFIO=y\n"
    _ = try take([("a", Array((banner + config).utf8)), ("b", Array((warning + "CONFIG_PCI=m\n").utf8))])
    #expect(try store.facts()[Fact.banner] == "Linux version 6.1.192 (x)")
    #expect(
      try store.facts()[Fact.configuration]?.hasPrefix("excerpt of 2 options: wrong: PCI=m; not mentioned: ") == true)
    // The same name with other content: its lines are new, and what it has in common with the first is not stored twice.
    let before = try store.logLines().count
    let grown = try take([("b", Array((warning + "[    2.0] e1000e eth0: Reset adapter unexpectedly\n").utf8))])
    #expect(try store.logLines().count == before + 1 && !grown.texts[0].isKnown)
  }

  @Test func anotherSignatureIsSaid() throws {
    let new = "#0  xt_iommu_unmap (domain=0x1, iova=0x1000, pgsize=4096, pgcount=1, gather=0x5) at a.c:1\n"
    let old = "#0  xt_iommu_unmap (domain=0x1, iova=0x2000, size=4096, gather=0x5) at a.c:1\n"
    #expect(try take([("new", Array(new.utf8))]).texts[0].remarks.isEmpty)
    #expect(
      try take([("old", Array(old.utf8))]).texts[0].remarks == [
        "The investigation is of the driver `xuantie/pages`; calls here have the signature of `xuantie/size`."
      ])
    #expect(try store.facts()[Fact.profile] == "xuantie/pages" && store.calls().count == 2)
  }

  @Test func filesThatAreNoTexts() throws {
    func complaint(_ path: String) -> String? {
      do {
        _ = try EvidenceFile.bytes(at: path)
        return nil
      } catch { return error.description.replacing(workspace.path + "/", with: "") }
    }
    _ = try workspace.write("zipped", [0x1f, 0x8b, 8, 0])
    _ = try workspace.write("binary", Array("SQLite format 3\0".utf8))
    _ = try workspace.write("text", Array("words".utf8))
    #expect(complaint(workspace.file("none")) == "none does not exist.")
    #expect(complaint(workspace.path) == "\(workspace.path) is not a file.")
    #expect(
      complaint(workspace.file("zipped")) == "zipped is compressed: unpack it first, as `zcat zipped > FILE` does.")
    #expect(complaint(workspace.file("binary")) == "binary is not a text: it has bytes of value 0.")
    #expect(complaint(workspace.file("text")) == nil)
    #expect(mkfifo(workspace.file("pipe"), 0o600) == 0)
    #expect(complaint(workspace.file("pipe")) == "pipe is not a file.")
    #expect(complaint("/dev/zero") == "/dev/zero is not a file.")
    _ = try workspace.write("lines", [UInt8](repeating: 0x0a, count: EvidenceFile.lineLimit))
    #expect(complaint(workspace.file("lines")) == nil)
    _ = try workspace.write("lines", [UInt8](repeating: 0x0a, count: EvidenceFile.lineLimit + 1))
    #expect(
      complaint(workspace.file("lines"))
        == "lines has more than 10000000 lines: cut it to the part that matters.")
    let end = open(workspace.file("large"), O_WRONLY | O_CREAT, 0o600)
    #expect(ftruncate(end, off_t(EvidenceFile.limit + 1)) == 0 && close(end) == 0)
    #expect(
      complaint(workspace.file("large")) == "large has more than 256 MiB: cut it to the part that matters.")
  }
}
