package import IOMMUModel
package import Investigation
package import PageTables
package import XuanTie

/// A driver's calls recorded and verified without a debugger or a file.
package final class Recording {
  package let driver: SimulatedDriver
  package let profile = XuanTieDriver(signature: .pages)
  package private(set) var calls: [RecordedCall] = []
  package private(set) var verified: [(call: RecordedCall, verification: Verification)] = []
  /// Verifications wait until ``verifyAll()``.
  package var verifiesLate = false
  private var waiting: [RecordedCall] = []

  package init(_ driver: SimulatedDriver) { self.driver = driver }

  @discardableResult
  package func map(
    _ domain: SimulatedDriver.Domain, _ iova: UInt64, to target: UInt64, size: UInt64 = 4096, count: UInt64 = 1,
    prot: UInt32 = 3
  ) -> RecordedCall {
    record(driver.map(domain, iova, to: target, size: size, count: count, prot: prot), domain)
  }

  @discardableResult
  package func unmap(_ domain: SimulatedDriver.Domain, _ iova: UInt64, size: UInt64 = 4096, count: UInt64 = 1)
    -> RecordedCall
  {
    record(driver.unmap(domain, iova, size: size, count: count), domain)
  }

  /// A call that the driver was never given.
  @discardableResult
  package func record(_ call: DriverCall, _ domain: SimulatedDriver.Domain) -> RecordedCall {
    let recorded = RecordedCall(
      id: EventID(rawValue: Int64(calls.count + 1)), number: calls.count { $0.call.isMap == call.isMap } + 1,
      call: call,
      root: domain.root, requester: domain.requester)
    calls.append(recorded)
    waiting.append(recorded)
    if !verifiesLate { verifyAll() }
    return recorded
  }

  package func verifyAll() {
    let verifier = Verifier(profile: profile, memory: driver.memory)
    for call in waiting {
      if let root = call.root { verified.append((call, verifier.verify(call.call, root: root))) }
    }
    waiting = []
  }

  package func replay(rootShift: Int? = nil) -> Replay {
    Replay(calls, profile: profile) { root in
      rootShift.map { root.mode.geometry.replacing(shift: $0, atLevel: root.mode.levels - 1) } ?? root.mode.geometry
    }
  }

  package func check(registers: RegisterValues?? = nil, range: ClosedRange<IOVA>? = nil) -> CrossCheck {
    CrossCheck(
      calls, replay: replay(), profile: profile, registers: registers ?? driver.registers, memory: driver.memory,
      verifications: Verifications(
        verified.compactMap { call, verification in call.id.map { (call: $0, verification: verification) } }),
      range: range)
  }

  /// The diagnosis under a CPU in `cpu` (nil for one whose mode is not known), with what else is known as `change` has it.
  package func diagnosis(cpu: PagingMode? = nil, _ change: (inout Diagnosis.Context) -> Void = { _ in }) -> Diagnosis {
    var context = Diagnosis.Context(kernel: cpu.map { KernelPaging(mode: $0) }, source: nil)
    (context.registers, context.memory) = (driver.registers, driver.memory)
    change(&context)
    return Diagnosis(verified, history: calls, profile: profile, check: check(), context: context)
  }
}
