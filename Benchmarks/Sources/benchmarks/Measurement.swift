import Foundation
import Investigation

/// Times, memory, and processes of their own to measure them in.
enum Measurement {
  /// The processor time of `body` in seconds, which other work on the machine changes least.
  static func time(_ body: () throws -> Void) rethrows -> Double {
    let start = processorTime()
    try body()
    return processorTime() - start
  }

  private static func processorTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  /// The most memory this process ever had, in bytes. getrusage would count what its parent had before it became this one.
  static func peakMemory() throws -> Double {
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let peak = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }?.split(separator: " ").dropFirst().first
    guard let kibibytes = peak.flatMap({ Double($0) }) else { throw InvestigationError("No VmHWM in /proc.") }
    return kibibytes * 1024
  }

  /// This program.
  static var executable: URL { URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath() }

  /// Runs a program to its end: what it prints, and the most memory that it had, in bytes.
  static func run(_ program: URL, _ arguments: [String]) throws -> (output: String, peak: Double) {
    // Not `Process`: only who waits for a child itself is told of its memory.
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw InvestigationError("No pipe: \(String(cString: strerror(errno))).") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
    for end in ends { posix_spawn_file_actions_addclose(&actions, end) }
    var words: [UnsafeMutablePointer<CChar>?] = ([program.path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child = pid_t()
    let failure = posix_spawn(&child, program.path, &actions, nil, &words, environ)
    close(ends[1])
    let output = FileHandle(fileDescriptor: ends[0], closeOnDealloc: true)
    guard failure == 0 else {
      throw InvestigationError("\(program.path) cannot be run: \(String(cString: strerror(failure))).")
    }
    let text = String(decoding: output.readDataToEndOfFile(), as: UTF8.self)
    var (status, usage): (Int32, rusage) = (0, rusage())
    guard wait4(child, &status, 0, &usage) == child, status == 0 else {
      throw InvestigationError("\(program.path) \(arguments.joined(separator: " ")) failed: \(text)")
    }
    return (text, Double(usage.ru_maxrss) * 1024)
  }

  /// What `benchmarks measure` with these arguments prints, in a process of its own: lines of a name and a number.
  static func inProcess(_ arguments: [String]) throws -> [String: Double] {
    let (text, _) = try run(executable, ["measure"] + arguments)
    var values: [String: Double] = [:]
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 2, let value = Double(words[1]) else { throw InvestigationError("Not a figure: \(line)") }
      values[String(words[0])] = value
    }
    return values
  }

  /// Every command in `rounds` processes, one after the other in each round, so that a slow moment of the machine hits all.
  static func interleaved(_ commands: [[String]], rounds: Int = 3) throws -> [[[String: Double]]] {
    var results = commands.map { _ in [[String: Double]]() }
    for _ in 0..<rounds {
      for (place, command) in commands.enumerated() { results[place].append(try inProcess(command)) }
    }
    return results
  }
}

extension [[String: Double]] {
  /// The median over processes of what `value` makes of the figures of one.
  func median(_ value: (_ figure: (String) -> Double) -> Double) -> Double {
    map { figures in value { figures[$0] ?? .nan } }.median
  }
}

extension [Double] {
  /// The one in the middle.
  var median: Double { isEmpty ? .nan : sorted()[count / 2] }
}

/// A number for a reader: three digits or the whole part.
func text(_ value: Double) -> String {
  let places = value >= 100 ? 0 : value >= 10 ? 1 : value >= 0.1 ? 2 : 3
  return String(format: "%.\(places)f", value)
}
