import LinuxKernel

/// Reads configurations: `CONFIG_X=y`, `# CONFIG_X is not set`, and `unset CONFIG_X` as people write it, under the line in
/// which Kconfig names the kernel where there is one.
struct ConfigurationReader: LineReader {
  func read(at start: Int, of text: TextLines) -> Reading? {
    guard let first = KernelConfiguration.Option(line: text[start]) else {
      if text[start].hasPrefix("CONFIG_"), !text[start].contains(where: { $0 >= 0x80 || $0.isSpace }) {
        return Reading(refusing: start..<start + 1, "It names an option, but no value for it.", in: text)
      }
      return nil
    }
    var configuration = KernelConfiguration(options: [first.name: first.value], isWhole: false)
    // `# Linux/riscv 6.1.192 Kernel Configuration` stands two lines above the first option.
    configuration.version = (1...4).lazy.compactMap { KernelConfiguration.version(header: text[start - $0]) }.first
    var end = start + 1
    var index = end
    // Comments and blank lines separate the sections of a configuration.
    while index < text.count, index - end < 24 {
      if let option = KernelConfiguration.Option(line: text[index]) {
        configuration.options[option.name] = .some(option.value)
        end = index + 1
      } else if !text[index].isBlank, text[index].trimmed.first != 0x23 {
        break
      }
      index += 1
    }
    // What Kconfig writes always has its compiler's version.
    configuration.isWhole = configuration.options["CC_VERSION_TEXT"] != nil
    return Reading(
      end: end, [Finding(lines: text.numbers(start..<end), evidence: .configuration(configuration))])
  }
}
