public import PageTables

/// What a device does with consecutive 4 KiB pages, each accessed from the same state of the device.
public struct DeviceRun: Hashable, Sendable {
  /// How many pages, at least 1.
  public let pages: UInt64
  /// How the access to the first page ends. Those to the others end in the same way; a translated address is as much
  /// further on as its IOVA.
  public let result: DeviceTranslation.Result
  /// The last entry that the device reads for the first page; nil when it reads none. For the other pages it is one at the
  /// same level that is as valid and as much a pointer.
  public let last: Walk.Step?

  /// A run.
  public init(pages: UInt64, result: DeviceTranslation.Result, last: Walk.Step?) {
    self.pages = pages
    self.result = result
    self.last = last
  }
}

/// A device's way with the accesses of one kind of one requester, see
/// ``DeviceModel/translator(access:requester:registers:memory:)``. The tables must not change while it is used.
public protocol DeviceTranslator: AnyObject {
  /// What the device does with the page at `iova` and with those behind it, as far as it does the same and at most for
  /// `limit` pages. Every page is told what ``DeviceModel/translate(_:access:requester:registers:memory:)`` says of it.
  func run(at iova: IOVA, limit: UInt64) -> DeviceRun
}

extension DeviceModel {
  /// Every page by itself.
  public func translator(
    access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> any DeviceTranslator {
    SinglePageTranslator { iova in
      translate(iova, access: access, requester: requester, registers: registers, memory: memory)
    }
  }
}

/// Translates page by page.
private final class SinglePageTranslator: DeviceTranslator {
  private let translate: (IOVA) -> DeviceTranslation

  init(_ translate: @escaping (IOVA) -> DeviceTranslation) { self.translate = translate }

  func run(at iova: IOVA, limit: UInt64) -> DeviceRun {
    let translation = translate(iova)
    return DeviceRun(pages: 1, result: translation.result, last: translation.steps.last)
  }
}
