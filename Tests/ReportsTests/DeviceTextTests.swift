import IOMMUModel
import Investigation
import PageTables
import Simulation
import Testing

@testable import Reports

/// What commands print on QEMU's side, and the timeline, to the letter; times and events' numbers are letters.
@Suite struct DeviceTextTests {
  private let session: DeviceSession
  private var host: SimulatedHost { session.host }
  private var store: InvestigationStore { session.store }
  private var investigator: DeviceInvestigator { session.investigator }

  init() throws {
    session = try DeviceSession()
    host.callers = ["address_space_translate_iommu", "pci_dma_read", "e1000e_start_xmit"]
    host.arguments = ["pci_dma_read.len": 16]
    host.driver.map(session.domain, 0xffff_e000, to: 0x8200_0000, prot: 7)
    try investigator.recordFacts()
  }

  private func timeline(
    iovas: ClosedRange<IOVA>? = nil, last: Int? = nil, tenants: [any Tenant.Type] = Scenario.tenants
  ) throws -> String {
    try investigator.flush()
    let (device, version) = try Terminal.vocabulary(of: store, tenants: tenants)
    var text = ""
    try Terminal.timeline(Timeline(store), iovas: iovas, last: last, device: device, version: version) { text += $0 }
    return text.replacing(#/(?m)^ +\d+ +\d+\.\d{6}  /#, with: "N T  ")
  }

  private func watch() { investigator.watch(TranslationRule(stop: .always)) }

  @Test func aTranslationAtItsEntry() throws {
    watch()
    _ = try host.enter(0xffff_e00c, .write, for: investigator)
    let root = session.domain.root.address
    let walk = session.domain.root.mode.geometry.walk(IOVA(0xffff_e00c), root: root, in: host.driver.memory)
    let steps = walk.steps.map { "\($0.entryAddress) = \(hex($0.entry.rawValue))  \($0.meaning)" }
    #expect(
      Terminal.translation(try #require(investigator.stopped()))
        == """
        translate   0000:00:01.0 (rsid 8)   e1000e_start_xmit, pci_dma_read, 16 bytes
          iova   0xffffe00c (4294959116)   write
          tables  level 2 [  3]  \(steps[0])
                  level 1 [511]  \(steps[1])
                  level 0 [510]  \(steps[2])
          device  this IOVA goes to 0x8200000c
        """)
  }

  /// A latched cause hides a good mapping: then the device's own steps are shown as well.
  @Test func aLatchedFault() throws {
    host.driver.latchFault(of: Scenario.card, at: 0x1000)
    investigator.watch(TranslationRule(stop: .mismatch))
    _ = try host.translate(0xffff_e000, for: investigator)
    let text = Terminal.translation(try #require(investigator.stopped()))
    let lines = text.components(separatedBy: "\n")
    try #require(lines.count == 9, "\(text)")
    #expect(lines[5].hasPrefix("  device  level 2 [  3]  ") && lines[5].contains("  table "))
    #expect(
      lines[6...] == [
        "          by its model this IOVA faults: cause 16 (S1_PTE_INVALID)",
        "          but a cause from an earlier access ends the walk after level 2",
        "  answer refused",
      ], "\(text)")
  }

  @Test func aDeviceWithoutATable() throws {
    watch()
    _ = try host.enter(0x8000_1000, .readWrite, by: SimulatedHost.behindBridge, for: investigator)
    #expect(
      Terminal.translation(try #require(investigator.stopped()))
        == """
        translate   0000:03:02.0 (rsid 784)   e1000e_start_xmit, pci_dma_read, 16 bytes
          iova   0x80001000 (2147487744)   read and write
          device  this IOVA passes through untranslated: DTE not valid
        """)
  }

  @Test func answers() throws {
    watch()
    let model = try investigator.device()
    _ = try host.translate(0xffff_e000, for: investigator)
    #expect(
      Terminal.answer(try #require(investigator.answered()), device: model)
        == "translate   0xffffe000 returned\n  answer  -> 0x82000000")
    _ = try host.translate(0xffff_f000, for: investigator)
    let refused = try #require(investigator.answered())
    #expect(
      Terminal.answer(refused, device: model)
        == """
        translate   0xfffff000 returned
          answer  refused
                  IOMMUCAUSE = 0x8000000000080010  pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)
                  FTVAL = 0xfffff000               last faulting address
        """)
    #expect(Terminal.answer(refused, device: nil).contains("\n          0x28 = 0xfffff000"))
  }

  @Test func aTimeline() throws {
    #expect(try timeline() == "Nothing was recorded.\n")
    investigator.watch(TranslationRule(stop: .never))
    try host.access(0xffff_e000, bytes: 16, step: 1, for: investigator)
    try host.access(0xffff_f000, bytes: 16, step: 4, for: investigator)
    _ = try host.translate(0x8000_1000, .none, by: SimulatedHost.behindBridge, for: investigator)
    try investigator.flush()
    try store.append(
      [LogLine(origin: "dmesg.txt", line: 7, time: 5_913_482_000, text: "eth0: \u{1b}[2JWATCHDOG", meaning: .watchdog)])
    try store.append(CookieRequest(domain: KVA(0x10), held: 0x20, callers: ["a", "b", "c", "d"]))
    try store.append(CookieRequest(domain: KVA(0x10), held: 0, callers: []))
    try store.append(note: "done")
    try store.append(snapshot: [:], reason: "check")
    let base = hex(try #require(host.driver.registers[0x18]))
    #expect(
      try timeline()
        == """
        N T  qemu    registers
                                      RSIDDIV  = 0x8   two-level device table, split at bit 8
                                      DTBASE  = \(base)   device table
                                      IOMMUINTNO  = 0xd   interrupt 13
                                      IOMMUCAPEN  = 0x1   translation on
                                      IOMMUINTEN  = 0x1   interrupt on
        N T  qemu    read 0xffffe000-0xffffe00f, 16 in steps of 1  -> 0x82000000  0000:00:01.0  e1000e_start_xmit, pci_dma_read, 16 bytes
        N T  qemu    read 0xfffff000-0xfffff00c, 4 in steps of 4  refused  0000:00:01.0  e1000e_start_xmit, pci_dma_read, 16 bytes
                                      IOMMUCAUSE  0x0 -> 0x8000000000080010   pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)
                                      FTVAL  0x0 -> 0xfffff00c   last faulting address
        N T  qemu    probe 0x80001000  no access wanted  0000:03:02.0  e1000e_start_xmit, pci_dma_read, 16 bytes
        N T  qemu    log  dmesg.txt:7  [5.913482] eth0: \u{fffd}[2JWATCHDOG
        N T  qemu    DMA cookie for domain 0x10: refused, the domain has one: 0x20   <- a <- b <- c
        N T  qemu    DMA cookie for domain 0x10: given
        N T  qemu    note  done
        N T  qemu    snapshot of 0 table pages: check

        """)
    #expect(try timeline(last: 1) == "N T  qemu    snapshot of 0 table pages: check\n")
    #expect(
      try timeline(iovas: IOVA(0x8000_1000)...IOVA(0x8000_1000)).hasPrefix("N T  qemu    probe 0x80001000  "))
    #expect(try timeline(iovas: IOVA(0)...IOVA(0)) == "Nothing was recorded about these addresses.\n")
    // Of a device that is not known here, the numbers.
    #expect(try timeline(tenants: []).contains("  register 0x28  0x0 -> 0xfffff00c\n"))
  }

  @Test func status() throws {
    let text = Terminal.status(investigator).components(separatedBy: "\n")
    #expect(text[0] == "side    QEMU's: xmmuv1_translate is in the symbols, a kernel driver is not")
    #expect(text[1] == "device  QEMU xmmuv1 at 0x2c000000, 8 of 8 registers read from its state")
    host.isRunning = false
    investigator.forgetTarget()
    #expect(
      Terminal.status(investigator).contains(
        "\ndevice  QEMU is not running: `run` starts it, `attach PID` joins one that runs.\n"))
  }
}
