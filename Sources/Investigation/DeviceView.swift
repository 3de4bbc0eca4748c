public import IOMMUModel
public import PageTables

/// The side of the bus that a session is on. The raw values are in investigation files.
public enum SessionSide: String, Sendable, CaseIterable {
  /// A debugger on the guest's kernel.
  case kernel
  /// A debugger on QEMU itself.
  case qemu
}

/// A session that can look at the device: at its registers, and at the tables that they lead to.
public protocol DeviceView: AnyObject {
  /// The device's model.
  func device() throws(TargetError) -> any DeviceModel

  /// Guest memory and where it comes from.
  func memory() throws(TargetError) -> (source: any PhysicalMemory, explanation: String)

  /// The device's registers.
  func registers() throws(TargetError) -> RegisterValues

  /// Where the register block lies.
  func registerBlock() throws(TargetError) -> GPA

  /// A domain as the driver keeps it.
  func domain(_ pointer: KVA) throws(TargetError) -> Domain

  /// The lowest requester that is attached to `domain`; nil when none is.
  func requester(of domain: Domain) -> RequesterID?

  /// The device that was last seen to ask for a translation; nil where none is seen.
  var asking: RequesterID? { get }

  /// The investigation file in use; nil until one is opened.
  var store: InvestigationStore? { get }
}

extension DeviceView {
  /// The contexts of all requesters that the device knows.
  public func contexts() throws(TargetError) -> [DeviceContext] {
    do {
      return try device().contexts(registers: registers(), memory: memory().source, limit: 4096)
    } catch let error as TargetError {
      throw error
    } catch {
      throw TargetError("\(error)")
    }
  }

  /// The root that `requester` is translated by.
  public func root(of requester: RequesterID) throws(TargetError) -> TableRoot {
    let context: DeviceContext
    do {
      context = try device().context(of: requester, registers: registers(), memory: memory().source)
    } catch let error as TargetError {
      throw error
    } catch {
      throw TargetError("\(error)")
    }
    switch context.translation {
    case .translated(let root?, _): return root
    case .translated(nil, _): throw TargetError("\(requester) has no first stage.")
    case .bypassed(let why), .refused(let why):
      throw TargetError("\(requester) is not translated: \(why). `iommu devices` lists who is.")
    }
  }
}

extension Investigator: DeviceView {
  /// The device on the other side of the driver.
  public func device() throws(TargetError) -> any DeviceModel { try profile().device }

  /// Nobody: translations are made in QEMU.
  public var asking: RequesterID? { nil }
}
