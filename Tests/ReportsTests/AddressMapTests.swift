import IOMMUModel
import Investigation
import PageTables
import Simulation
import Testing

@testable import Reports

/// What I/O virtual addresses lead to, table by table.
@Suite struct AddressMapTests {
  /// `first-last fate` of each stretch.
  private func told(_ table: AddressMap.Table) -> [String] {
    table.stretches.map { "\(hex($0.first))-\(hex($0.last)) \($0.fate.name)" }
  }

  @Test func theWrongShift() throws {
    let map = AddressMap(try Shown(rootShift: 48).findings.check)
    #expect(
      map.tables.map(told) == [
        ["0x10000000-0x10003fff elsewhere", "0x50000000-0x50003fff missing"], ["0xffffc000-0xffffffff missing"],
      ])
    #expect(map.tables.map { $0.stretches.map(\.taker) } == [[0x5000_0000, nil], [nil]])
    #expect(map.tables.map(\.devices) == [[Scenario.passedThrough], [Scenario.card]])
    #expect(map.tables.map(\.wrongPages) == [8, 4] && map.tables.allSatisfy { $0.last == 0xffff_ffff })
    #expect(map.tables.map { $0.areas.map(\.first) } == [[0x1000_0000, 0x5000_0000], [0xffff_c000]])
  }

  @Test func theFixedDriver() throws {
    let map = AddressMap(try Shown(rootShift: 30).findings.check)
    #expect(
      map.tables.map(told) == [
        ["0xffffc000-0xffffffff right"], ["0x10000000-0x10003fff right", "0x50000000-0x50003fff right"],
      ])
  }

  /// The ends of the address space are drawn, and nothing is an empty picture with a sentence.
  @Test func extremes() throws {
    let workspace = try Workspace()
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
    try store.setFact(Fact.profile, "xuantie/pages")
    func map() throws -> AddressMap { AddressMap(try Findings(offline: store, tenants: Scenario.tenants).check) }
    #expect(try map().svg.contains("Nothing to show"))
    for iova in [0, UInt64.max - 0xfff] {
      let call = DriverCall(
        function: "xt_iommu_map", operation: .map(target: GPA(0), protection: [.read], allocation: nil), domain: KVA(1),
        iova: IOVA(iova), length: 4096, pages: DriverCall.Pages(size: 4096, count: 1))
      _ = try store.append(
        RecordedCall(number: 0, call: call, root: TableRoot(address: GPA(0x8000_0000), mode: .sv39), requester: nil))
    }
    let table = try #require(map().tables.first)
    #expect(table.stretches.count <= 2 && (table.last == .max || table.stretches.isEmpty))
    #expect(try map().svg.hasSuffix("</svg>\n"))
  }
}
