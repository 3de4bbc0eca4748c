import Foundation
import IOMMUModel
import Investigation
import LinuxKernel
import PageTables
import Simulation
import Testing

@testable import Reports

/// What is said of each cause, word for word, as `Tests/Fixtures/reports/diagnosis.txt` has it. With `IOMMULENS_RECORD` in the
/// environment the file is written anew.
@Suite struct DiagnosisTextTests {
  /// Records `calls` of a driver with `mistakes` for one domain, and tells the diagnosis under Sv57.
  private func told(
    _ mistakes: SimulatedDriver.Mistakes = .none, context: (inout Diagnosis.Context) -> Void = { _ in },
    after change: (Recording, SimulatedDriver.Domain) -> Void = { _, _ in },
    _ calls: (Recording, SimulatedDriver.Domain) -> Void
  ) -> String {
    let recording = Recording(SimulatedDriver())
    let domain = recording.driver.domain(of: Scenario.card)
    recording.driver.mistakes = mistakes
    calls(recording, domain)
    change(recording, domain)
    return Terminal.diagnosis(recording.diagnosis(cpu: .sv57, context))
  }

  /// What is told of kernel state and logs alone.
  private func told(context: (inout Diagnosis.Context) -> Void) -> String { told(context: context) { _, _ in } }

  /// A ring, a buffer to write to and one to read from.
  private func ring(_ recording: Recording, _ domain: SimulatedDriver.Domain) {
    recording.map(domain, 0xffff_f000, to: 0x1_0617_2000, prot: 7)
    recording.map(domain, 0xffff_d000, to: 0x1_0620_5000, count: 2, prot: 6)
    recording.map(domain, 0xffff_c000, to: 0x9_3456_7000, prot: 5)
  }

  private func huge(_ recording: Recording, _ domain: SimulatedDriver.Domain) {
    recording.map(domain, 0x8000_0000, to: 0x1_0000_0000, size: 0x20_0000, count: 2)
    recording.map(domain, 0x9000_0000, to: 0x1_8000_0000, count: 4)
  }

  @Test func everyCauseIsToldAsRecorded() throws {
    let sections = leaves() + ranges() + unmaps() + tables() + device() + silence() + kernel() + refusals()
    let text = sections.map { "# \($0.0)\n\($0.1)\n" }.joined(separator: "\n")
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Fixtures/reports/diagnosis.txt")
    if ProcessInfo.processInfo.environment["IOMMULENS_RECORD"] != nil {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let expected = try String(contentsOf: file, encoding: .utf8).components(separatedBy: "\n# ")
    for (found, wanted) in zip(text.components(separatedBy: "\n# "), expected) { #expect(found == wanted) }
    #expect(text.components(separatedBy: "\n# ").count == expected.count)
  }

  private typealias Section = (String, String)

  private func leaves() -> [Section] {
    [
      ("page number shifted left by 2", told(.with { $0.pageShift = 2 }, ring)),
      ("page number shifted right by 1", told(.with { $0.pageShift = -1 }, ring)),
      ("page number cut to 20 bits", told(.with { $0.pageBits = 0xfffff }, ring)),
      ("page number rounded down to 2 MiB", told(.with { $0.pageBits = ~0x1ff }, ring)),
      ("page number off by 1", told(.with { $0.pageDistance = 1 }, ring)),
      ("page number off by -3", told(.with { $0.pageDistance = -3 }, ring)),
      (
        "page number off by -1, odd pages only",
        told(.with { $0.pageDistance = -1 }) { recording, domain in
          recording.map(domain, 0x1000, to: 0x1_0617_3000)
          recording.map(domain, 0x2000, to: 0x1_0617_5000)
        }
      ),
      (
        "one leaf off by any number",
        told(.with { $0.pageDistance = 12345 }) { recording, domain in
          recording.map(domain, 0x1000, to: 0x1_0617_3000)
        }
      ),
    ]
      + SimulatedDriver.Mistakes.Flags.allCases.filter { $0 != .right }.map { mistake in
        ("flags: \(mistake)", told(.with { $0.flags = mistake }, ring))
      }
  }

  private func ranges() -> [Section] {
    SimulatedDriver.Mistakes.Part.allCases.filter { $0 != .all }.map { part in
      ("map: \(part)", told(.with { $0.mapped = part }, huge))
    } + [
      ("map: pgcount ignored, pages of 4 KiB", told(.with { $0.mapped = .countIgnored }, ring)),
      (
        "map: first 4 KiB, one large page",
        told(.with { $0.mapped = .firstPage }) { recording, domain in
          recording.map(domain, 0x8000_0000, to: 0x1_0000_0000, size: 0x20_0000)
        }
      ),
      (
        "map: by no rule",
        told { recording, domain in
          recording.verifiesLate = true
          recording.map(domain, 0x1000, to: 0x1_0000_0000, count: 4)
          recording.driver.overwrite(0x3000, in: domain, 0)
          recording.verifyAll()
        }
      ),
      (
        "progress not reported",
        told { recording, domain in
          for _ in 0..<5 { recording.map(domain, 0xffff_f000, to: 0x1_0617_2000, prot: 7) }
        }
      ),
      (
        "another signature",
        told(.losesEntries, context: Self.state { $0.mapOperation = "map" }, ring)
      ),
    ]
  }

  private func unmaps() -> [Section] {
    SimulatedDriver.Mistakes.Part.allCases.filter { $0 != .all }.map { part in
      (
        "unmap: \(part)",
        told(.with { $0.cleared = part }) { recording, domain in
          huge(recording, domain)
          recording.unmap(domain, 0x8000_0000, size: 0x20_0000, count: 2)
          recording.unmap(domain, 0x9000_0000, count: 3)
        }
      )
    } + [
      (
        "unmap: another page",
        told(.with { $0.clearsAtDistance = 4096 }) { recording, domain in
          ring(recording, domain)
          recording.unmap(domain, 0xffff_c000)
        }
      )
    ]
  }

  private func tables() -> [Section] {
    [
      (
        "another domain's table",
        told(.with { $0.usesFirstDomain = true }) { recording, _ in
          let guest = recording.driver.domain(of: Scenario.passedThrough)
          recording.map(guest, 0x1000_0000, to: 0x1_2000_0000, count: 4)
        }
      ),
      ("cleared by others", told(after: { $0.driver.overwrite(0xffff_f000, in: $1, 0) }, ring)),
      ("changed by others", told(after: { $0.driver.overwrite(0xffff_f000, in: $1, 0x8_1234 << 10 | 7) }, ring)),
    ]
  }

  private func device() -> [Section] {
    func descriptor(_ mode: UInt64) -> (Recording, SimulatedDriver.Domain) -> Void {
      { $0.driver.memory[$1.descriptor.rawValue] = mode << 60 | $1.root.address.rawValue >> 12 }
    }
    return [
      ("large leaves", told(.hugeLeaves, huge)),
      (
        "large leaves, fault latched",
        told(
          .hugeLeaves, after: { recording, _ in recording.driver.latchFault(of: Scenario.card, at: 0x8000_0008) }, huge)
      ),
      (
        "fault latched, cause repaired",
        told(
          after: { recording, _ in recording.driver.latchFault(of: Scenario.card, at: 0xffff_f008) }, ring)
      ),
      (
        "fault latched, cause still there",
        told(
          after: { recording, domain in
            recording.driver.mistakes = .losesEntries
            recording.map(domain, 0x1000, to: 0x1_0000_0000)
            recording.driver.latchFault(of: Scenario.card, at: 0x1000)
          }, ring)
      ),
      (
        "device table entry not valid",
        told(after: { recording, _ in recording.driver.write(0, toEntryOf: Scenario.card) }, ring)
      ),
      ("translation off", told(after: { recording, _ in recording.driver.enable = 0 }, ring)),
      (
        "not attached",
        told { recording, _ in
          let domain = recording.driver.domain(of: nil)
          recording.map(domain, 0x1000, to: 0x1_0000_0000, count: 3)
        }
      ),
      ("descriptor: bare", told(after: descriptor(0), ring)),
      ("descriptor: unknown mode", told(after: descriptor(3), ring)),
      ("descriptor: another mode", told(after: descriptor(9), ring)),
      (
        "descriptor: another root",
        told(
          after: { recording, domain in
            let other = recording.driver.domain(of: nil).root.address.rawValue
            recording.driver.memory[domain.descriptor.rawValue] = 8 << 60 | other >> 12
          }, ring)
      ),
    ]
  }

  /// A fault that nobody was told of, by what is known of the driver's interrupt.
  private func silence() -> [Section] {
    func fault(_ context: @escaping (inout Diagnosis.Context) -> Void) -> String {
      told(
        context: context,
        after: { recording, _ in recording.driver.latchFault(of: Scenario.card, at: 0xffff_f008) }, ring)
    }
    func handling(
      _ interrupt: UInt64 = 0, interrupts: Bool = true, names: [String] = [], reads: [UInt64]? = [0x20],
      _ change: @escaping (inout Diagnosis.Context) -> Void = { _ in }
    ) -> (inout Diagnosis.Context) -> Void {
      {
        Self.state {
          $0.faultHandling = KernelState.FaultHandling(
            interrupt: interrupt, interruptName: "xmmu",
            node: .init(name: "iommu@2c000000", hasInterrupt: interrupts, interruptNames: names),
            handler: "xt_iommu_interrupt", reads: reads)
        }(&$0)
        $0.interruptIsUnheard = interrupt == 0
        change(&$0)
      }
    }
    func line(_ number: Int, _ text: String, _ meaning: LogLine.Meaning) -> LogLine {
      LogLine(origin: "kernel log", line: number, time: nil, text: text, meaning: meaning)
    }
    let watchdog = line(96, "NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out", .watchdog)
    let enabled = line(70, "xuantie-iommu 2c000000.iommu: enabled, device table at 0x80b76000", .driver)
    return [
      ("no handler, no name in the device tree", fault(handling { $0.log = [enabled, watchdog] })),
      ("no handler, another name", fault(handling(names: ["fault"]) { $0.log = [enabled] })),
      ("no handler, the right name", fault(handling(names: ["xmmu"]))),
      ("no handler, no interrupt", fault(handling(interrupts: false))),
      ("no handler, and no more is known", fault { $0.interruptIsUnheard = true }),
      (
        "no handler, interrupt off",
        fault(handling { $0.registers?.byOffset[0x1008] = 0 })
      ),
      ("a watchdog and no fault in the log", fault { $0.log = [watchdog] }),
      (
        "a handler that reads another register",
        fault(
          handling(15, names: ["xmmu"]) {
            $0.log = [line(97, "xuantie-iommu 2c000000.iommu: fault at 0x8000000000080010", .driver)]
          })
      ),
      ("a handler that reads both", fault(handling(15, names: ["xmmu"], reads: [0x20, 0x28]))),
      ("a handler that reads nothing known", fault(handling(15, names: ["xmmu"], reads: nil))),
    ]
  }

  // MARK: Before any call

  private static func state(_ change: @escaping (inout KernelState) -> Void) -> (inout Diagnosis.Context) -> Void {
    {
      var state = KernelState()
      change(&state)
      $0.state = state
    }
  }

  private static func device(
    _ name: String, _ group: Int, _ requester: UInt32, bus: String = "pci", driver: String? = nil,
    usesIOMMU: Bool? = nil
  ) -> KernelState.Device {
    KernelState.Device(
      name: name, bus: bus, driver: driver, group: group, requester: RequesterID(rawValue: requester),
      usesIOMMU: usesIOMMU)
  }

  private func kernel() -> [Section] {
    let bare = Self.state {
      $0.devices = [
        Self.device("0000:00:00.0", 0, 0),
        Self.device("0000:00:01.0", 1, 8, driver: "e1000e", usesIOMMU: false),
      ]
      $0.groups = [0, 1].map { KernelState.Group(id: $0, defaultDomain: nil, domain: nil) }
    }
    func groups(_ devices: [KernelState.Device]) -> (inout Diagnosis.Context) -> Void {
      Self.state {
        $0.devices = devices
        $0.groups = devices.indices.map {
          let domain = KVA(0xff60_0000_0123_4098 + UInt64($0) << 12)
          return KernelState.Group(id: $0, defaultDomain: domain, domain: domain)
        }
      }
    }
    return [
      ("no default domain", told(context: bare)),
      (
        "no default domain, second cookie",
        told(context: {
          bare(&$0)
          let domain = KVA(0xff60_0000_0123_4098)
          $0.cookies = [
            CookieRequest(domain: domain, held: 0, callers: ["xt_iommu_domain_alloc", "__iommu_domain_alloc"]),
            CookieRequest(
              domain: domain, held: 0xff60_0000_0200_0000,
              callers: ["__iommu_domain_alloc", "iommu_group_alloc_default_domain"]),
          ]
        })
      ),
      (
        "platform devices taken in",
        told(
          context: groups([
            Self.device("0000:00:01.0", 0, 8, driver: "e1000e", usesIOMMU: true),
            Self.device("10001000.virtio", 1, 0, bus: "platform"),
            Self.device("10002000.virtio", 2, 0, bus: "platform"),
          ]))
      ),
      (
        "two PCI segments",
        told(context: groups([Self.device("0000:00:01.0", 0, 8), Self.device("0001:00:01.0", 1, 8)]))
      ),
      ("beyond the device table", told(context: groups([Self.device("0000:10:00.0", 0, 0x1000)]))),
    ]
  }

  private func refusals() -> [Section] {
    let bind = LogLine(
      origin: "kernel log", line: 412, time: nil, text: "vfio-pci: probe of 0000:00:01.0 failed with error -22",
      meaning: .bindRefused)
    let interrupts = LogLine(
      origin: "console.log", line: 7, time: nil,
      text: "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "
        + "\"allow_unsafe_interrupts\" to enable VFIO IOMMU support on this platform", meaning: .unsafeInterrupts)
    func logged(
      _ line: LogLine, _ change: @escaping (inout KernelState) -> Void = { _ in }
    ) -> (inout Diagnosis.Context) -> Void {
      {
        Self.state(change)(&$0)
        $0.log = [line]
      }
    }
    func allowed(_ isAllowed: Bool) -> (inout KernelState) -> Void {
      {
        $0.interrupts = KernelState.Interrupts(
          unsafeAllowed: isAllowed, messageDomains: ["msi"], withoutRemapping: ["msi"])
      }
    }
    let answers: [(String, KernelState.Answer)] = [
      ("no", .no), ("absent", .absent), ("unknown", .unknown("the function could not be read")), ("yes", .yes),
    ]
    return answers.map { name, answer in
      ("bind refused, .capable: \(name)", told(context: logged(bind) { $0.cacheCoherency = answer }))
    } + [
      ("attach refused", told(context: logged(interrupts, allowed(false)))),
      ("attach refused, allowed since", told(context: logged(interrupts, allowed(true)))),
      ("attach refused, state not known", told(context: { $0.log = [interrupts] })),
    ]
  }
}
