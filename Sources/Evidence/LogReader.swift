import Investigation

/// A line of a kernel's log: `[   42.096669] text`, `<4>[…] text`, or with noise of a console before it.
struct KernelLine {
  /// Nanoseconds since the kernel started; nil for a line without a time.
  let time: UInt64?
  /// The rest.
  let text: ArraySlice<UInt8>

  /// How far into a line a time is looked for, behind what a console's user printed.
  private static let reach = 200

  /// Reads a line.
  init(_ line: ArraySlice<UInt8>) {
    var scanner = Scanner(line.prefix(Self.reach))
    while scanner.skip(past: "[") {
      if let (time, length) = Self.time(scanner.rest) {
        self.time = time
        text = line[(scanner.rest.startIndex + length)...].drop { $0.isSpace }
        return
      }
    }
    (time, text) = (nil, line)
  }

  /// `   42.096669]`, in nanoseconds, and how many bytes it takes.
  private static func time(_ bytes: ArraySlice<UInt8>) -> (UInt64, Int)? {
    var scanner = Scanner(bytes)
    scanner.skipSpaces()
    guard let time = seconds(&scanner), scanner.take("]") else { return nil }
    return (time, scanner.rest.startIndex - bytes.startIndex)
  }

  /// `42.096669` in nanoseconds.
  static func seconds(_ scanner: inout Scanner) -> UInt64? {
    let whole = scanner.take(while: \.isDigit)
    guard (1...9).contains(whole.count), scanner.take(".") else { return nil }
    let fraction = scanner.take(while: \.isDigit)
    guard (1...9).contains(fraction.count), let seconds = UInt64(whole.text), let parts = UInt64(fraction.text) else {
      return nil
    }
    let scale = (fraction.count..<9).reduce(UInt64(1)) { value, _ in value * 10 }
    return seconds * 1_000_000_000 + parts * scale
  }
}

/// What a network card's watchdog says.
public struct TransmitTimeout: Hashable, Sendable {
  /// The interface: `eth0`.
  public let interface: String
  /// Its driver, and its device where the line tells it: `e1000e`, `e1000e 0000:00:01.0`.
  public let driver: String
  /// The transmit queue.
  public let queue: UInt64
  /// For how long it was stuck; nil in kernels that do not say it.
  public let milliseconds: UInt64?

  /// Reads `NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out 9960 ms` (up to Linux 6.4) and `e1000e 0000:00:01.0
  /// eth0: NETDEV WATCHDOG: CPU: 0: transmit queue 0 timed out 5004 ms` (stable kernels and from 6.5).
  public init?(_ text: String) {
    let bytes = Array(text.utf8)[...]
    var scanner = Scanner(bytes)
    guard let start = bytes.position(of: "NETDEV WATCHDOG: "), scanner.skip(past: "NETDEV WATCHDOG: ") else {
      return nil
    }
    let before = bytes[..<start].trimmed.split(whereSeparator: \.isSpace).map(\.text)
    if let name = before.last, name.hasSuffix(":") {
      (interface, driver) = (String(name.dropLast()), before.dropLast().joined(separator: " "))
    } else {
      interface = scanner.take { !$0.isSpace }.text
      guard scanner.skip(past: "(") else { return nil }
      driver = scanner.take { $0 != 0x29 }.text
    }
    guard scanner.skip(past: "transmit queue "), let queue = scanner.number(), scanner.skip(past: "timed out") else {
      return nil
    }
    self.queue = queue
    scanner.skipSpaces()
    milliseconds = scanner.number()
  }
}

/// Reads kernel logs: dmesg, a console, a page that quotes them.
struct LogReader: LineReader {
  /// The text's name.
  let name: String

  func read(at start: Int, of text: TextLines) -> Reading? {
    let line = KernelLine(text[start])
    if let warning = Warning(at: start, first: line, in: text) {
      var findings = [
        Finding(
          lines: text.numbers(start..<warning.end),
          evidence: .log(
            LogLine(
              origin: name, line: text.number(start), time: line.time, text: warning.summary, meaning: .warning)))
      ]
      if let release = warning.release {
        findings.append(
          Finding(
            lines: text.numbers(start..<warning.end),
            evidence: .release(release)))
      }
      return Reading(end: warning.end, findings)
    }
    let lines = text.numbers(start..<start + 1)
    var scanner = Scanner(line.text)
    if scanner.take("Linux version "), scanner.next?.isDigit == true {
      return Reading(
        end: start + 1, [Finding(lines: lines, evidence: .fact(name: Fact.banner, value: line.text.prefix(512).text))])
    }
    guard Self.topics.contains(where: { line.text.contains(word: $0) }) else {
      return line.time == nil ? nil : Reading(end: start + 1, [], noise: .log)
    }
    let words = line.text.prefix(Self.longest).text
    guard let meaning = LogLine.Meaning(text: words, isKernel: line.time != nil) else {
      return line.time == nil ? nil : Reading(end: start + 1, [], noise: .log)
    }
    return Reading(
      end: start + 1,
      [
        Finding(
          lines: lines,
          evidence: .log(
            LogLine(origin: name, line: text.number(start), time: line.time, text: words, meaning: meaning)))
      ])
  }

  /// Every message that ``LogLine/Meaning`` knows has one of these; most lines of a text have none.
  private static let topics = [
    "IOMMU", "iommu", "VFIO", "vfio", "WATCHDOG", "Reset adapter", "Fault ", "fault", "IO_PAGE_FAULT",
    "interrupt remapping",
  ]

  /// The longest line that the kernel prints (Linux `kernel/printk/internal.h`), and what is kept of one.
  private static let longest = 1024
}

/// A warning or an oops of the kernel's with its registers and its backtrace, told as one.
private struct Warning {
  /// Its first line and the functions above: `WARNING: … vfio_unmap_unpin+0x206/0x242 <- vfio_remove_dma`.
  let summary: String
  /// The kernel's release as the warning names it: `6.4.0-rc1 #91`.
  let release: String?
  /// The first line after it.
  let end: Int

  /// Lines that one may take.
  private static let limit = 512
  /// Lines of a console that may stand between two of its lines.
  private static let gap = 3

  init?(at start: Int, first: KernelLine, in text: TextLines) {
    guard ["WARNING: ", "BUG: ", "Oops", "Unable to handle kernel "].contains(where: { first.text.hasPrefix($0) }),
      first.time != nil || first.text.contains(word: "WARNING: CPU: ") || first.text.hasPrefix("Unable to")
        || first.text.hasPrefix("BUG: ")
    else { return nil }
    var functions: [String] = []
    var release: String?
    var end = start + 1
    var index = end
    while index < text.count, index - start < Self.limit, index - end <= Self.gap {
      let line = KernelLine(text[index])
      // Where the log has times, a line without one is somebody else's.
      guard (line.time != nil) == (first.time != nil) else {
        index += 1
        continue
      }
      if line.text.hasPrefix("---[ end ") {
        end = index + 1
        break
      }
      guard Self.isBody(line.text) else { break }
      if let function = Self.function(line.text) { functions.append(function) }
      if line.text.hasPrefix("CPU: ") { release = release ?? Self.release(line.text) }
      index += 1
      end = index
    }
    let head = first.text.prefix(512).text
    if let inner = functions.first, head.contains(" \(inner)+") { functions.removeFirst() }
    summary = ([head] + functions.prefix(16)).joined(separator: " <- ")
    self.release = release
    self.end = end
  }

  private static let starts = [
    "Modules linked in:", "CPU: ", "Hardware name:", "epc : ", "ra : ", "pc : ", "lr : ", "sp : ", "status: ",
    "pstate: ",
    "Call Trace:", "Call trace:", "Code: ", "RIP: ", "RSP: ", "RAX: ", "RBP: ", "R10: ", "R13: ", "RDX: ", "FS: ",
    "CS: ",
    "CR2: ", "DR0: ", "DR3: ", "<TASK>", "</TASK>", "Tainted: ", "irq event stamp:", "hardirqs last", "softirqs last",
    "gp : ", "Workqueue: ", "Current ", "pgtable: ", "[UID]",
  ]

  private static func isBody(_ text: ArraySlice<UInt8>) -> Bool {
    starts.contains { text.hasPrefix($0) } || function(text) != nil || isRegister(text)
  }

  /// `[<ffffffff8018f9d2>] vfio_remove_dma+0x1e/0xf0`, `vfio_remove_dma+0x1e/0xf0`: the function.
  private static func function(_ text: ArraySlice<UInt8>) -> String? {
    var scanner = Scanner(text)
    if scanner.take("[<") {
      _ = scanner.take(while: \.isHexDigit)
      guard scanner.take(">]") else { return nil }
      scanner.skipSpaces()
    }
    _ = scanner.take("? ")
    let name = scanner.take { $0.isIdentifier || $0 == 0x2e }
    guard !name.isEmpty, scanner.take("+0x"), !scanner.take(while: \.isHexDigit).isEmpty, scanner.take("/0x") else {
      return nil
    }
    return name.prefix { $0 != 0x2e }.text
  }

  /// `s10: 0000000000000101`, ` a2 : 00000000ffffefff a3 : …`.
  private static func isRegister(_ text: ArraySlice<UInt8>) -> Bool {
    var scanner = Scanner(text)
    scanner.skipSpaces()
    let name = scanner.take(while: \.isIdentifier)
    scanner.skipSpaces()
    guard (2...4).contains(name.count), scanner.take(":") else { return false }
    scanner.skipSpaces()
    return scanner.take(while: \.isHexDigit).count == 16
  }

  /// `6.4.0-rc1 #91` of `CPU: 3 PID: 0 Comm: swapper/3 Not tainted 6.4.0-rc1 #91`.
  private static func release(_ text: ArraySlice<UInt8>) -> String? {
    let words = text.prefix(512).split(whereSeparator: \.isSpace)
    guard
      let position = words.firstIndex(where: { word in
        word.first?.isDigit == true && word.count { $0 == 0x2e } >= 2
          && word.allSatisfy { $0.isIdentifier || $0 == 0x2e || $0 == 0x2d || $0 == 0x2b }
      })
    else { return nil }
    let build = words.dropFirst(position + 1).first.flatMap { $0.first == 0x23 ? " \($0.text)" : nil }
    return words[position].text + (build ?? "")
  }
}
