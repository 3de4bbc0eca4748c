import IOMMUModel

/// Reads the trace that a device's implementation wrote of itself, in the words of its ``IOMMUModel/DeviceTrace``.
struct DeviceTraceReader: LineReader {
  /// One for each device that writes a trace.
  private let passes: [DeviceTracePass]

  init(name: String, devices: [any DeviceModel]) {
    passes = devices.compactMap { DeviceTracePass(name, device: $0) }
  }

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard var pass = passes.first(where: { $0.reads(text[start]) }) else { return nil }
    var index = start
    while index < text.count, !text.isStopped(at: index), pass.take(text[index], number: text.number(index)) {
      index += 1
    }
    pass.end()
    return Reading(end: index, pass.findings, refusals: pass.refusals, noise: .trace)
  }
}
