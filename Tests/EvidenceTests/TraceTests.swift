import IOMMUModel
import Investigation
import PageTables
import Testing

@testable import Evidence

@Suite struct TraceTests {
  @Test func callsOfTheCore() {
    let trace = Texts.read(
      """
      # tracer: nop
      #
              ifconfig-83      [000] .....     5.123456: add_device_to_group: IOMMU: groupID=1 device=0000:00:01.0
              ifconfig-83      [000] .....     5.200000: attach_device_to_domain: IOMMU: device=0000:00:01.0
              ifconfig-83      [000] .....     5.300000: map: IOMMU: iova=0x00000000fffff000 - 0x0000000100000000 paddr=0x0000000080bd1000 size=4096
              ifconfig-83      [000] .....     5.400000: map: IOMMU: iova=0x00000000ffffc000 paddr=0x0000000080bd7000 size=8192
                <idle>-0       [000] ..s..     6.000000: unmap: IOMMU: iova=0x00000000fffff000 - 0x0000000100000000 size=4096 unmapped_size=4096
      perf 123 [000] 7.5: iommu:unmap: IOMMU: iova=0x00000000ffffc000 size=8192 unmapped_size=8192
                <idle>-0       [000] d.h..     8.000000: io_page_fault: IOMMU:riscv,iommu 0000:00:01.0 iova=0x00000000fffff000 flags=0x0000
      """)
    func map(_ iova: UInt64, _ target: UInt64, _ size: UInt64) -> DriverCall {
      DriverCall(
        function: "iommu:map", operation: .map(target: GPA(target), protection: nil, allocation: nil), domain: KVA(0),
        iova: IOVA(iova), length: size)
    }
    func unmap(_ iova: UInt64, _ size: UInt64) -> DriverCall {
      DriverCall(function: "iommu:unmap", operation: .unmap, domain: KVA(0), iova: IOVA(iova), length: size)
    }
    #expect(
      trace.calls.map(\.call) == [
        map(0xffff_f000, 0x80bd_1000, 4096), map(0xffff_c000, 0x80bd_7000, 8192), unmap(0xffff_f000, 4096),
        unmap(0xffff_c000, 8192),
      ])
    #expect(trace.calls.allSatisfy { $0.root == nil && $0.call.protection == nil })
    #expect(
      trace.logs == [
        LogLine(
          origin: "text", line: 3, time: 5_123_456_000, text: "add_device_to_group: groupID=1 device=0000:00:01.0",
          meaning: .groupAdded),
        LogLine(
          origin: "text", line: 4, time: 5_200_000_000, text: "attach_device_to_domain: device=0000:00:01.0",
          meaning: .other),
        LogLine(
          origin: "text", line: 9, time: 8_000_000_000,
          text: "io_page_fault: riscv,iommu 0000:00:01.0 iova=0x00000000fffff000 flags=0x0000", meaning: .fault),
      ])
    #expect(trace.refusals.isEmpty && trace.isComplete)
  }

  @Test func otherForms() {
    for payload in [
      "map: IOMMU: iova=0x1000 size=4096", "map: IOMMU: iova=0x1000 - 0x9000 paddr=0x0 size=4096",
      "unmap: IOMMU: iova=0x1000", "map: IOMMU: iova=0x10000000000000000 paddr=0x0 size=1", "map: IOMMU:",
    ] {
      let trace = Texts.read("  x-1 [000] 1.0: \(payload)")
      #expect(trace.calls.isEmpty && trace.refusals.count == 1, "\(payload)")
    }
    #expect(Texts.read("x-1 [000] 1.0: sched_switch: prev_comm=a").refusals.isEmpty)
  }
}
