public import IOMMUModel
public import PageTables

extension RISCVIOMMUDevice {
  /// Whether a fault of `requester` with this cause would be put into the fault queue now: the queue must be on and not have
  /// lost a fault before, and DTF of the device context must not hold it back (section 3.2). Nil when FQB, FQH or FQT is not
  /// known.
  public func reports(
    _ cause: FaultCause, of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> Bool? {
    guard let queue = FaultQueue(registers) else { return nil }
    guard queue.isOn, !queue.losesFaults else { return false }
    if RISCVIOMMUFault.isReportedAlways(cause.code) { return true }
    do throws(Stop) {
      var lookup = try DirectoryLookup(registers, memory: memory, implementation: implementation)
      guard case .directory(let levels) = lookup.pointer.mode else { return true }
      return try !lookup.deviceContext(of: requester.rawValue, levels: levels).reportsNoFaults
    } catch {
      if case .unreadable(let failure) = error { throw failure }
      // Where no device context is found DTF counts as 0.
      return true
    }
  }
}
