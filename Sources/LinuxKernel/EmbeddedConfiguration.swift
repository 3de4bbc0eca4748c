public import IOMMUModel
import PageTables

/// The configuration that a kernel was built with, as it carries it (CONFIG_IKCONFIG).
///
/// Linux `kernel/configs.c`: the gzipped `.config` between the symbols `kernel_config_data` and `kernel_config_data_end`,
/// with `IKCFG_ST` before it and `IKCFG_ED` behind it.
public enum EmbeddedConfiguration: Hashable, Sendable {
  /// It is there.
  case found(KernelConfiguration)
  /// It is not compiled in.
  case absent
  /// It is there and cannot be read: a sentence.
  case unreadable(String)

  /// The most that is read, and the most that it may be once it is unzipped: a distribution's has about 60 KiB and 300 KiB.
  static let zippedLimit: UInt64 = 1 << 20, limit = 4 << 20

  private static let mark = 8

  /// Reads it from the kernel's memory.
  public init(in target: any Target, kernel: KernelMemory) {
    guard let start = try? target.evaluate("(unsigned long)&kernel_config_data"),
      let end = try? target.evaluate("(unsigned long)&kernel_config_data_end")
    else {
      self = .absent
      return
    }
    do throws(TargetError) {
      self = .found(try Self.read(from: start, to: end, kernel: kernel))
    } catch {
      self = .unreadable(error.description)
    }
  }

  private static func read(
    from start: UInt64, to end: UInt64, kernel: KernelMemory
  ) throws(TargetError) -> KernelConfiguration {
    let place = KVA(start)
    guard start >= UInt64(mark), end > start, end - start <= zippedLimit else {
      throw TargetError(
        "kernel_config_data is at \(place) and kernel_config_data_end at \(KVA(end)): no configuration lies there.")
    }
    let count = Int(end - start)
    let bytes = try kernel.bytes(at: KVA(start - UInt64(mark)), count: count + 2 * mark)
    guard bytes.starts(with: "IKCFG_ST".utf8), bytes.suffix(mark).elementsEqual("IKCFG_ED".utf8) else {
      throw TargetError(
        "The configuration at \(place) is not between the marks IKCFG_ST and IKCFG_ED: the symbols are another kernel's, or "
          + "its memory is damaged.")
    }
    let text: [UInt8]
    do { text = try gunzip(Array(bytes.dropFirst(mark).prefix(count)), limit: limit) } catch {
      throw TargetError("The \(count) bytes of configuration at \(place) \(error).")
    }
    guard let configuration = KernelConfiguration(file: text) else {
      throw TargetError("The configuration at \(place) unzips to \(text.count) bytes that set no option.")
    }
    return configuration
  }
}
