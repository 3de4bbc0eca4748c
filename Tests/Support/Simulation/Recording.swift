public import IOMMUModel
public import Investigation
public import PageTables
public import XuanTie

/// A driver's calls recorded and verified without a debugger or a file.
public final class Recording {
  public let driver: SimulatedDriver
  public let profile = XuanTieDriver(signature: .pages)
  public private(set) var calls: [RecordedCall] = []
  public private(set) var verified: [(call: RecordedCall, verification: Verification)] = []
  /// Verifications wait until ``verifyAll()``.
  public var verifiesLate = false
  private var waiting: [RecordedCall] = []

  public init(_ driver: SimulatedDriver) { self.driver = driver }

  @discardableResult
  public func map(
    _ domain: SimulatedDriver.Domain, _ iova: UInt64, to target: UInt64, size: UInt64 = 4096, count: UInt64 = 1,
    prot: UInt32 = 3
  ) -> RecordedCall {
    record(driver.map(domain, iova, to: target, size: size, count: count, prot: prot), domain)
  }

  @discardableResult
  public func unmap(_ domain: SimulatedDriver.Domain, _ iova: UInt64, size: UInt64 = 4096, count: UInt64 = 1)
    -> RecordedCall
  {
    record(driver.unmap(domain, iova, size: size, count: count), domain)
  }

  /// A call that the driver was never given.
  @discardableResult
  public func record(_ call: DriverCall, _ domain: SimulatedDriver.Domain) -> RecordedCall {
    let recorded = RecordedCall(
      id: EventID(rawValue: Int64(calls.count + 1)), number: calls.count { $0.call.isMap == call.isMap } + 1, call: call,
      root: domain.root, requester: domain.requester)
    calls.append(recorded)
    waiting.append(recorded)
    if !verifiesLate { verifyAll() }
    return recorded
  }

  public func verifyAll() {
    let verifier = Verifier(profile: profile, memory: driver.memory)
    for call in waiting {
      if let root = call.root { verified.append((call, verifier.verify(call.call, root: root))) }
    }
    waiting = []
  }

  public func replay(rootShift: Int? = nil) -> Replay {
    Replay(calls, profile: profile) { root in
      rootShift.map { root.mode.geometry.replacing(shift: $0, atLevel: root.mode.levels - 1) } ?? root.mode.geometry
    }
  }

  public func check(registers: RegisterValues?? = nil, range: ClosedRange<IOVA>? = nil) -> CrossCheck {
    CrossCheck(
      calls, replay: replay(), profile: profile, registers: registers ?? driver.registers, memory: driver.memory,
      range: range)
  }

  /// The diagnosis under a CPU in `cpu`; nil for one whose mode is not known.
  public func diagnosis(cpu: PagingMode? = nil) -> Diagnosis {
    Diagnosis(
      verified, history: calls, profile: profile, check: check(),
      context: Diagnosis.Context(kernel: cpu.map { KernelPaging(mode: $0) }, source: nil))
  }
}

/// Random numbers that can be had again (SplitMix64).
public struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64
  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
