import IOMMUModel
import Investigation
import PageTables
import Testing

@testable import Evidence

@Suite struct TableTests {
  @Test func calls() throws {
    let recorded = try Texts.read(fixture: "pgdir-shift/map-unmap-calls-first-120.csv")
    #expect(recorded.calls.count == 120 && recorded.refusals.isEmpty && recorded.isComplete)
    #expect(
      recorded.calls.dropFirst().first?.call
        == DriverCall(
          function: "xt_iommu_map",
          operation: .map(
            target: GPA(0x80bd_7000), protection: [.read, .write, .cache], allocation: AllocationFlags(rawValue: 0xa20)),
          domain: KVA(0xff60_0000_0097_8ef8), iova: IOVA(0xffff_c000), length: 8192,
          pages: DriverCall.Pages(size: 4096, count: 2)))
    let vfio = try Texts.read(fixture: "vfio/b-huge-pages-calls.csv")
    #expect(vfio.calls.count == 13 && vfio.calls.count { !$0.call.isMap } == 8)
    #expect(vfio.calls.first?.callers == ["vfio_test_domain_fgsp", "vfio_iommu_type1_attach_group"])
    // A table of a driver that is not known is told, not dropped.
    let foreign = try Texts.read(fixture: "riscv-iommu/main-map-unmap.csv")
    #expect(foreign.calls.isEmpty && foreign.refusals.map(\.lines) == [2...121])
  }

  @Test func translations() throws {
    let first = try Texts.read(fixture: "pgdir-shift/qemu-translate-first-60.csv").translations
    // The first access's sixteen bytes in four steps, over and over, and the last cut by the end of the recording.
    #expect(first.reduce(0) { $0 + $1.count } == 60 && first.count == 14)
    #expect(first.allSatisfy { $0.stride == 4 && $0.access == .read && $0.answer == nil })
    let answered = try Texts.read(fixture: "pgdir-shift/qemu-translate-results.csv").translations
    #expect(answered.map(\.count) == [4, 4, 4, 4] && answered.allSatisfy { $0.isRefused == true && $0.stride == 4 })
    let working = try Texts.read(fixture: "fixed/qemu-translate-results.csv").translations
    #expect(
      working == [
        RecordedTranslation(
          requester: nil, iova: IOVA(0xffef_c036), count: 40, stride: 1, access: .read,
          answer: RecordedTranslation.Answer(address: GPA(0x80c6_e036), mask: 0, access: .read))
      ])
    let runs = try Texts.read(fixture: "pgdir-shift/qemu-translate-runs.csv").translations
    #expect(runs.map(\.count) == [3, 4, 1] && runs.map(\.stride) == [4, 4, 0])
    #expect(runs.first?.asker?.operation == "e1000e_start_xmit")
  }

  @Test func printsOfTranslations() {
    func read(_ addresses: [UInt64]) -> [[UInt64]] {
      Texts.read(addresses.map { "xmmuv1_translate addr \($0)\n" }.joined()).translations.map {
        [$0.iova.rawValue, $0.count, $0.stride]
      }
    }
    #expect(read([0, 4, 8, 12, 0, 1, 2]) == [[0, 4, 4], [0, 3, 1]])
    #expect(read([8, 8, 4]) == [[8, 1, 0], [8, 1, 0], [4, 1, 0]])
    #expect(read([.max, 0]) == [[.max, 2, 1]])
    #expect(read([0, 4096]) == [[0, 1, 0], [4096, 1, 0]])
    for line in [
      "xmmuv1_translate addr 4096 flag 1", "[  1.0] xmmuv1_translate: addr=0x1000, flag=1",
      "xmmuv1_translate(addr=0x1000, flag=1)",
    ] {
      let found = Texts.read(line).translations
      #expect(found.map(\.iova) == [IOVA(4096)] && found.first?.access == .read, "\(line)")
    }
  }

  @Test func rowsThatDoNotFit() {
    let table = Texts.read(
      """
      seq,function,iova,paddr,pgsize,pgcount,prot,gfp,domain
      0,xt_iommu_map,0x1000,0x2000,4096,1,7,0xa20,0x10
      1,xt_iommu_map,0x1000
      2,other_map,0x1000,0x2000,4096,1,7,0xa20,0x10
      3,xt_iommu_map,0x1000,nowhere,4096,1,7,0xa20,0x10
      4,xt_iommu_map,0x1000,0x2000,18446744073709551615,2,7,0xa20,0x10
      5,xt_iommu_map,0x3000,0x2000,4096,1,7,,0x10
      and so on
      """)
    #expect(table.calls.map { $0.call.iova } == [IOVA(0x1000), IOVA(0x3000)])
    #expect(
      table.refusals == [
        Refusal(lines: 3...3, reason: "The row has 3 columns, the table 9."),
        Refusal(lines: 4...6, reason: "The row has no values of a call or translation that is known here."),
      ])
    #expect(table.noise == [.other: 2])
  }
}
