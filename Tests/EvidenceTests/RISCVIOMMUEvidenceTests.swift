import Foundation
import IOMMUModel
import Investigation
import PageTables
import RISCVIOMMU
import Reports
import Simulation
import Testing
import XuanTie

@testable import Evidence

/// What was captured of the RISC-V IOMMU on Linux 7.2 and QEMU 10.0, read as evidence.
@Suite struct RISCVIOMMUEvidenceTests {
  static let tenants: [any Tenant.Type] = [XuanTie.self, RISCVIOMMU.self]
  static let profiles = tenants.flatMap { $0.profiles }
  static let card = RequesterID(rawValue: 8)

  let workspace: Workspace
  let store: InvestigationStore

  init() throws {
    workspace = try Workspace()
    store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
  }

  static func read(_ name: String) throws -> Extraction {
    EvidenceReader(profiles: profiles).read(try Texts.fixture("riscv-iommu/\(name)"), name: name)
  }

  static func read(text: String, name: String = "trace.txt") -> Extraction {
    EvidenceReader(profiles: profiles).read(Array(text.utf8), name: name)
  }

  /// With both drivers known, a written-out table is of the one that could have written its leaves.
  @Test func writtenOutTablesAreOfTheDriverThatWroteThem() throws {
    let name = "vfio/d-alias-tables-with-pgdir-bug.txt"
    let text = String(decoding: try Texts.fixture(name), as: UTF8.self)
    func drivers(_ text: String) -> [String?] {
      Self.read(text: text, name: name).findings.compactMap {
        if case .call(_, let profile) = $0.evidence { .some(profile) } else { nil }
      }
    }
    #expect(drivers(text) == Array(repeating: "xuantie/pages", count: 4))
    // U, A and D are the other one's.
    let other = text.replacing(/= 0x([0-9a-f]+)07$/.anchorsMatchLineEndings()) { "= 0x\($0.1)d7" }
      .replacing(/= 0x([0-9a-f]+)07(?=\s)/) { "= 0x\($0.1)d7" }
    #expect(other != text && Set(drivers(other)) == ["riscv-iommu/pages"])
  }

  private func take(_ extractions: [Extraction]) throws -> EvidenceImport {
    try EvidenceImport(extractions, into: store, profiles: Self.profiles)
  }

  private func findings() throws -> Findings { try Findings(offline: store, tenants: Self.tenants) }

  // MARK: QEMU's trace

  struct Counts: Equatable, CustomTestStringConvertible {
    var translations, refused, faults, invalidations, others: Int
    var testDescription: String { "\(translations) \(refused) \(faults) \(invalidations) \(others)" }

    init(_ translations: Int, _ refused: Int, _ faults: Int, _ invalidations: Int, _ others: Int) {
      (self.translations, self.refused, self.faults) = (translations, refused, faults)
      (self.invalidations, self.others) = (invalidations, others)
    }

    init(_ extraction: Extraction) {
      let all = extraction.translations
      translations = all.reduce(0) { $0 + Int($1.count) }
      refused = all.filter { $0.isRefused == true }.reduce(0) { $0 + Int($1.count) }
      faults = extraction.logs.count { $0.meaning == .deviceFault }
      invalidations = extraction.logs.count { $0.meaning == .invalidation }
      others = extraction.noise[.trace] ?? 0
    }
  }

  /// Counted with grep.
  @Test(arguments: [
    ("main-trace.txt", Counts(192, 0, 0, 54, 54)), ("fault-trace.txt", Counts(37, 29, 29, 2, 4)),
    ("fault-noioatc-gdb-session.txt", Counts(21, 21, 22, 0, 3)),
    ("msi-fault-trace.txt", Counts(2, 2, 2, 6, 9)), ("napot-trace.txt", Counts(67, 0, 0, 6, 7)),
  ])
  func traces(_ name: String, _ counts: Counts) throws {
    let extraction = try Self.read(name)
    #expect(Counts(extraction) == counts)
    #expect(extraction.isComplete && extraction.refusals.isEmpty)
    #expect(extraction.translations.allSatisfy { $0.requester == Self.card && $0.answer != nil })
    #expect(extraction.findings.allSatisfy { !$0.evidence.isOfTrace || $0.device == RISCVIOMMUDevice().name })
  }

  @Test func theOrderIsKept() throws {
    _ = try take([try Self.read("fault-trace.txt")])
    var order: [String] = []
    try Timeline(store).forEach { entry in
      switch entry.content {
      case .translation(let translation, _):
        order.append("\(translation.iova) \(translation.isRefused == true ? "refused" : "answered")")
      case .log(let line): order.append(line.meaning.rawValue)
      default: break
      }
    }
    #expect(
      Array(order.prefix(12)) == [
        "0xffefc002 answered", "0xfffff25c answered", "invalidation", "0xfffff260 answered", "0xffefc002 answered",
        "0xfffff27c answered", "invalidation", "0xfffff280 answered", "device fault", "0xffefc002 refused",
        "device fault", "0xffefc002 refused",
      ])
    let line = try #require(try store.logLines().first { $0.meaning == .deviceFault })
    #expect(
      line.text == "riscv_iommu_flt (null): fault 0000:01.0 reason: 0x80d0000000d iova: 0xffefc002 "
        + "(cause 13 (read page fault) of 0000:00:01.0 at 0xffefc002)")
    #expect(line.origin == "fault-trace.txt" && line.line == 14)
  }

  /// A 0 is a refusal only where a fault was reported; the lead of QEMU's log does not matter.
  @Test func targetsOfZero() throws {
    let dma = "riscv_iommu_dma (null): translate 0000:01.0 #0 RO 0x1000 -> 0x0\n"
    let fault = "riscv_iommu_flt (null): fault 0000:01.0 reason: 0x80d0000000d iova: 0x1000\n"
    let other = "riscv_iommu_flt (null): fault 0000:02.0 reason: 0x100d0000000d iova: 0x1000\n"
    for (text, refused) in [
      (dma, nil), (fault + dma, true), (other + dma, nil), (fault + dma + dma, true),
      ("12@1.5:" + fault + "  " + dma, true),
    ] as [(String, Bool?)] {
      #expect(Self.read(text: text).translations.first?.isRefused == refused, "\(text)")
    }
    #expect(Self.read(text: fault + dma + dma).translations.map(\.isRefused) == [true, nil])
  }

  @Test func linesThatAreCut() throws {
    let extraction = Self.read(
      text: "riscv_iommu_dma (null): translate 0000:01.0 #0 RO 0x1000 -> 0x2000\nriscv_iommu_dma (null): transl\n")
    #expect(extraction.translations.count == 1 && extraction.isComplete)
    #expect(
      extraction.refusals == [
        Refusal(
          lines: 2...2,
          reason: "It is a line of the trace of \(RISCVIOMMUDevice().name), but not in a form known here.")
      ])
    // The names of events in other texts are no trace.
    for text in ["riscv_iommu_new\n", "ffffffff8018e53a t riscv_iommu_device_group\n", "-trace riscv_iommu_dma -D f\n"]
    {
      #expect(Self.read(text: text).noise == [.other: 1])
    }
  }

  // MARK: Whole runs

  static let runs: [(name: String, files: [String])] = [
    ("riscv-iommu-napot", ["napot-gdb-session.txt", "napot-meta.json", "napot-pages.json", "napot-trace.txt"]),
    ("riscv-iommu-main", ["main-map-unmap.csv", "main-meta.json", "main-pages.json", "main-trace.txt"]),
    ("riscv-iommu-backtraces", ["main-backtraces.txt"]),
    ("riscv-iommu-fault", ["fault-gdb-session.txt", "fault-trace.txt"]),
    ("riscv-iommu-msi", ["msi-fault-trace.txt"]),
  ]

  @Test(arguments: runs.map(\.name)) func conclusions(_ name: String) throws {
    let files = try #require(Self.runs.first { $0.name == name }?.files)
    let imported = Terminal.imported(
      try take(files.map(Self.read)), into: store, devices: Self.profiles.map(\.device))
    let findings = try findings()
    let answer =
      [
        "$ iommulens import", imported, "$ iommulens check", Terminal.check(of: findings, limit: 6),
        "$ iommulens diagnose", Terminal.diagnosis(of: findings),
      ].joined(separator: "\n").replacing(workspace.path + "/", with: "") + "\n"
    try Texts.expect(answer, isFixture: "evidence/\(name).txt")
  }

  /// The ring that nobody could explain: everything is right but the device.
  @Test func theContiguousRing() throws {
    _ = try take(try #require(Self.runs.first).files.map(Self.read))
    let diagnosis = try findings().diagnosis
    #expect(diagnosis.disagreeing == 0)
    let first = try #require(diagnosis.hypotheses.first)
    #expect(first.cause == .contiguousIgnored && first.explainsAll && diagnosis.hypotheses.count == 1)
    for part in ["0xffff0000", "0x80b00000", "0x80b08000"] { #expect(first.title.contains(part)) }
    #expect(first.evidence.contains { $0.contains("0x80b12f80") && $0.contains("0x80000000202c20df") })
  }
}

extension Evidence {
  /// Whether a device's trace can tell it.
  fileprivate var isOfTrace: Bool {
    switch self {
    case .translations: true
    case .log(let line): line.isOfDevice
    default: false
    }
  }
}
