import CZlib
import Evidence
import IOMMUModel
import LinuxKernel
import PageTables
import XuanTie

/// The input as what a kernel keeps for whoever stops it: its log, or its configuration.
struct KernelSurface: Surface {
  private let reader = EvidenceReader(profiles: XuanTie.profiles)

  func feed(_ input: inout Input) throws {
    if input.byte() & 1 == 0 { try feedLog(&input) } else { feedConfiguration(&input) }
  }

  // MARK: Log

  /// A log as a kernel writes it, then words of it overwritten, and what the debug information says of it.
  private func feedLog(_ input: inout Input) throws {
    let log = SimulatedLog(
      countBits: 1 + UInt64(input.below(5)), sizeBits: 5 + UInt64(input.below(6)), fitsExactly: input.byte() & 1 == 0)
    for _ in 0..<input.below(40) {
      let kind = input.byte()
      let text = kind >> 6 == 0 ? input.take(Int(kind & 31)) : [UInt8](repeating: 0x61, count: Int(kind & 63))
      log.write(text, level: Int(kind & 7), time: UInt64(kind) << 32, stage: kind & 15 == 15 ? .reserved : .finalized)
    }
    let target = FakeTarget(values: SimulatedLog.values)
    let names = SimulatedLog.values.keys.sorted()
    while !input.isEmpty {
      let (kind, place, value) = (input.below(8), input.below(256), input.number())
      switch kind {
      case 0: target.values[input.pick(names)] = value
      case 1: log.memory.write(value, at: log.header(UInt64(place & 0x7f)))
      case 2, 3: log.memory.write(value, at: SimulatedLog.descriptors + UInt64(place) * 8)
      case 4: log.memory.write(value, count: 2, at: SimulatedLog.infos + UInt64(place) * 2)
      default: log.memory.write(value, at: SimulatedLog.data + UInt64(place) * 8)
      }
    }
    let records = try KernelLog(in: target).records(of: target, in: log.kernel)
    let ring = 1 << 27
    require(records.reduce(0) { $0 + $1.text.utf8.count } <= 3 * ring, "a log says no more than it holds")
    for record in records {
      require(0...7 ~= record.level, "a level is one of the kernel's")
      _ = record.consoleLines
    }
    _ = reader.logLines(of: records)
  }

  // MARK: Configuration

  /// The input as gzipped data, or as the text that is in it.
  private func feedConfiguration(_ input: inout Input) {
    let isZipped = input.byte() & 1 == 0
    let linear: UInt64 = 0xff5f_ffff_8000_0000, start = GPA(0x8010_0000)
    let bytes = isZipped ? input.rest() : Self.zipped(input.rest())
    let memory = SparseMemory()
    memory.write("IKCFG_ST".utf8, at: start)
    memory.write(bytes + "IKCFG_ED".utf8, at: start + 8)
    let data = start.rawValue &+ linear &+ 8
    let target = FakeTarget(values: [
      "(unsigned long)&kernel_config_data": data,
      "(unsigned long)&kernel_config_data_end": data &+ UInt64(bytes.count),
    ])
    let kernel = KernelMemory(memory: memory, linearOffset: linear)
    let found = EmbeddedConfiguration(in: target, kernel: kernel)
    switch found {
    case .absent: require(false, "a configuration that is there is found")
    case .unreadable(let why): require(why.hasSuffix("."), "what is wrong is said in a sentence")
    case .found(let configuration):
      require(!configuration.options.isEmpty, "a configuration sets something")
      require(configuration.merged(with: configuration) == configuration, "merged with itself it is the same")
      _ = configuration.summary
    }
  }

  /// `text` in gzip's format, as it stands.
  private static func zipped(_ text: [UInt8]) -> [UInt8] {
    func littleEndian(_ value: UInt, _ count: Int) -> [UInt8] {
      (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt($0))) }
    }
    // RFC 1952: the header of a file without a name; RFC 1951: one last block, stored.
    let head: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1]
    let size = UInt(text.count)
    return head + littleEndian(size, 2) + littleEndian(~size, 2) + text
      + littleEndian(crc32(0, text, UInt32(text.count)), 4) + littleEndian(size, 4)
  }
}
