import IOMMUModel
import Investigation
import PageTables

/// Finds a translation by the device in a backtrace of QEMU.
struct TranslationReader {
  /// The devices that are known.
  let devices: [any DeviceModel]

  /// What a backtrace with such a function gave.
  enum Result {
    /// The translation, without its answer, and the device that made it.
    case translation(RecordedTranslation, device: String?)
    /// Why it cannot be told: a sentence.
    case refused(String)
  }

  /// The functions that translate.
  var functions: Set<String> { Set(devices.compactMap(\.translateFunction)) }

  /// The translation in `trace`; nil when no device's function is in it. The parameters are those of QEMU's
  /// `IOMMUMemoryRegionClass.translate`: `addr` and `flag`.
  func read(_ trace: Backtrace) -> Result? {
    let functions = functions
    guard let position = trace.frames.firstIndex(where: { functions.contains($0.function) }) else { return nil }
    let frame = trace.frames[position]
    guard let address = frame.number("addr") else {
      let why =
        frame.isCut
        ? "its arguments are cut off"
        : frame.arguments["addr"] == .optimizedOut ? "`addr` is optimized out" : "it has no argument `addr`"
      return .refused("\(frame.function) cannot be recorded because \(why).")
    }
    return .translation(
      RecordedTranslation(
        requester: nil, iova: IOVA(address), access: Self.access(frame.arguments["flag"]), answer: nil,
        asker: asker(trace.frames.dropFirst(position + 1))),
      device: devices.first { $0.translateFunction == frame.function }?.name)
  }

  /// QEMU's `IOMMUAccessFlags`, by name or number; nil for anything else.
  static func access(_ value: Frame.Value?) -> Access? {
    switch value {
    case .number(let code): UInt8(exactly: code).flatMap(Access.init)
    case .name(let name): names[name]
    default: nil
    }
  }

  private static let names: [String: Access] = [
    "IOMMU_NONE": .none, "IOMMU_RO": .read, "IOMMU_WO": .write, "IOMMU_RW": .readWrite,
    "(IOMMU_RO|IOMMU_WO)": .readWrite,
  ]

  // MARK: Who asked

  /// QEMU's functions between a device and the IOMMU.
  private static let layers = ["address_space_", "flatview_", "dma_memory_", "pci_dma_", "memory_region_", "dma_"]

  private static func isLayer(_ function: String) -> Bool { layers.contains { function.hasPrefix($0) } }

  /// Who asked, from the frames above the translation; nil when they end within QEMU's memory layer.
  private func asker(_ frames: ArraySlice<Frame>) -> RecordedTranslation.Asker? {
    let memory = frames.prefix { Self.isLayer($0.function) }
    // The device ends where QEMU's dispatch of the guest's access begins.
    let device = frames.dropFirst(memory.count).prefix { !Self.isLayer($0.function) }
    return Self.asker(
      memory: memory.map(\.function), device: device.map { ($0.function, $0.file) },
      length: memory.reversed().lazy.compactMap { $0.number("len") }.first)
  }

  /// Who asked, from function names alone.
  static func asker(chain: [String]) -> RecordedTranslation.Asker? {
    let memory = chain.prefix { isLayer($0) }
    // A chain that was cut within helpers does not tell whom they helped.
    if let last = chain.last, ["net_", "iov_", "qemu_", "virtqueue_"].contains(where: { last.hasPrefix($0) }) {
      return nil
    }
    return asker(memory: Array(memory), device: chain.dropFirst(memory.count).map { ($0, "") }, length: nil)
  }

  private static func asker(
    memory: [String], device: [(function: String, file: String)], length: UInt64?
  ) -> RecordedTranslation.Asker? {
    guard let path = memory.last, let first = device.first else { return nil }
    // Helpers that several devices share sit below the device's own functions, whose names start with its own.
    let model = device.reversed().lazy.compactMap { name(ofFile: $0.file) }.first ?? prefix(device.last?.function ?? "")
    let own = device.first { $0.function.hasPrefix(model) }
    return RecordedTranslation.Asker(
      device: model, operation: own?.function ?? first.function, path: path, length: length)
  }

  /// The device in the name of its source file: `e1000e` of `../hw/net/e1000e_core.c`; nil outside QEMU's `hw`.
  private static func name(ofFile file: String) -> String? {
    guard file.contains("hw/"), let last = file.split(separator: "/").last else { return nil }
    var name = last.prefix { $0 != "." }
    for suffix in ["_core", "-core"] where name.hasSuffix(suffix) { name = name.dropLast(suffix.count) }
    return name.isEmpty ? nil : String(name)
  }

  private static func prefix(_ function: String) -> String { String(function.prefix { $0 != "_" }) }
}
