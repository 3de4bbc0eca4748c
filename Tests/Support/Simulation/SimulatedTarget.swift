package import IOMMUModel
package import PageTables

/// A debugger on the simulated kernel; it writes down what it is asked.
package final class SimulatedTarget: Target {
  package let driver: SimulatedDriver
  /// Everything asked, in order: `evaluate $satp`.
  package private(set) var questions: [String] = []
  /// `satp`; nil when the debugger does not know it.
  package var satp: UInt64?
  package var banner = "Linux version 6.1.0 (build@host) (gcc 12.2.0) #1 SMP\n"
  package var parameters = ["domain", "iova", "paddr", "pgsize", "pgcount", "iommu_prot", "gfp", "mapped"]
  /// Without a monitor neither registers nor RAM ranges can be had.
  package var hasMonitor = true
  /// What a debugger's own events make of a question to the monitor, before it is answered.
  package var whenMonitored: () -> Void = {}
  /// Where RAM is, as the monitor tells it.
  package var ram = ["0000000080000000-000000008fffffff (prio 0, ram): riscv_virt_board.ram"]

  package init(_ driver: SimulatedDriver, satp: UInt64? = 10 << 60 | 0x81234) {
    self.driver = driver
    self.satp = satp
  }

  package func forgetQuestions() { questions = [] }

  package func evaluate(_ expression: String) throws(TargetError) -> UInt64 {
    questions.append("evaluate \(expression)")
    let member = "(unsigned long)&((struct xt_iommu_domain *)0)->"
    if expression.hasPrefix(member) {
      if let offset = SimulatedDriver.offsets[String(expression.dropFirst(member.count))] { return offset }
    }
    switch expression {
    case "(unsigned long)&xt_iommu_map": return 0xffff_ffff_8050_1000
    case "kernel_map.va_pa_offset": return SimulatedDriver.linearOffset
    case "(unsigned long)xt_iommu->base": return 0xff20_0000_0010_0000
    case "$satp": if let satp { return satp }
    default: break
    }
    throw TargetError("No symbol in current context: \(expression).")
  }

  package func string(_ expression: String) throws(TargetError) -> String {
    questions.append("string \(expression)")
    guard expression == "linux_banner" else { throw TargetError("No symbol \(expression) in current context.") }
    return banner
  }

  package func parameters(of function: String) throws(TargetError) -> [String] {
    questions.append("parameters \(function)")
    return parameters
  }

  package func function(at address: KVA) throws(TargetError) -> String {
    questions.append("function \(address)")
    throw TargetError("No symbol matches \(address).")
  }

  package func read(_ address: KVA, count: Int) throws(TargetError) -> [UInt8] {
    questions.append("read virtual \(address) \(count)")
    throw TargetError("Cannot access memory at address \(address).")
  }

  package func read(_ address: GPA, count: Int) throws(TargetError) -> [UInt8] {
    questions.append("read physical \(address) \(count)")
    do { return try driver.memory.bytes(at: address, count: count) } catch {
      throw TargetError("Cannot access memory at address \(address).")
    }
  }

  package func connection() -> String? { "localhost:1234" }

  /// The calls that have not returned, by the stack pointer at their entry.
  package var running: Set<UInt64> = []

  package func isInside(_ function: String, _ place: CallPlace?) -> Bool {
    questions.append("inside \(function)")
    return place.map { running.contains($0.stack) } ?? false
  }

  /// What the monitor answers to `info version`; nil for what it does not know.
  package var version: String?

  package func monitor(_ command: String) throws(TargetError) -> String {
    questions.append("monitor \(command)")
    whenMonitored()
    guard hasMonitor else { throw TargetError("The stub has no monitor.") }
    let words = command.split(separator: " ")
    switch words.first {
    case "info" where words.last == "version" && version != nil: return version ?? ""
    case "info":
      return """
        FlatView #0
         AS "memory", root: system
         Root memory region: system
        """ + ram.map { "\n  \($0)" }.joined()
    case "gva2gpa": return words.last == "0xff20000000100000" ? "gpa: 0x2c000000\r\n" : "Unmapped\r\n"
    case "xp":
      let address = UInt64(words.last?.dropFirst(2) ?? "", radix: 16) ?? 0
      let digits = String(address, radix: 16)
      let padded = String(repeating: "0", count: 16 - digits.count) + digits
      guard let value = driver.registers[address &- 0x2c00_0000] else { return "Cannot access memory\r\n" }
      let bits = String(value, radix: 16)
      return "\(padded): 0x\(String(repeating: "0", count: 16 - bits.count))\(bits)\r\n"
    default: throw TargetError("unknown command: '\(command)'")
    }
  }
}
