import IOMMUModel

/// Finds out who asked for a translation, from the functions above it: QEMU's memory and DMA layers, then the device.
enum AccessPath {
  /// Frames looked at. The deepest way known, a transmit ring's, passes 11 of the layers.
  static let limit = 20

  /// The parameters by which the layers pass on how many bytes an access is about, the usual one first.
  private static let lengths = ["len", "plen"]

  /// Who asked. `names` are the functions above the translate function, innermost first; `device` is the model's name of
  /// the requester, and `value` gives a parameter of the function at a position.
  static func asker(
    _ names: [String], device: String?, value: (_ parameter: String, _ position: Int) -> UInt64?
  ) -> RecordedTranslation.Asker? {
    let layers = names.prefix(while: isLayer)
    guard let path = layers.last else { return nil }
    let above = names[layers.count...]
    // Between the layers and the device there may be helpers that several devices share (`net_tx_pkt_…`).
    let operation =
      above.prefix(6).first { name in device.map { name.hasPrefix($0 + "_") } ?? false } ?? above.first ?? ""
    var length: UInt64?
    for position in layers.indices.reversed() {
      for parameter in lengths where length == nil { length = value(parameter, position) }
    }
    return RecordedTranslation.Asker(
      device: device ?? String(operation.prefix { $0 != "_" }), operation: operation, path: path, length: length)
  }

  /// Whether a function is of the layers that every access goes through and nobody asks about (`softmmu/physmem.c`,
  /// `sysemu/dma.h`, `hw/pci/pci.h`).
  private static func isLayer(_ name: String) -> Bool {
    ["address_space_", "flatview_", "dma_", "pci_dma_", "memory_region_"].contains { name.hasPrefix($0) }
      || name.hasSuffix("_dma")
  }
}
