import CFuzzer
import Glibc

/// One way for hostile bytes into the program.
protocol Surface {
  /// Makes once what all inputs need.
  init() throws

  /// Feeds one input. Whatever it is, this returns, soon; what must hold of the answers is asserted with ``require(_:_:)``.
  func feed(_ input: inout Input) throws
}

/// Ends the program, which is how a fuzzer learns of an input, unless `condition` holds.
func require(_ condition: Bool, _ rule: @autoclosure () -> String) {
  if !condition { fatalError("This must hold: \(rule())") }
}

/// libFuzzer with one surface, named by `--surface=NAME`; every other option is libFuzzer's.
@main enum Fuzz {
  static var surfaces: [String: any Surface.Type] {
    [
      "tables": TableSurface.self, "device": DeviceSurface.self, "riscv": RISCVSurface.self, "core": CoreSurface.self,
      "text": TextSurface.self,
      "template": TemplateSurface.self, "names": NameSurface.self, "investigation": InvestigationSurface.self,
      "function": FunctionSurface.self, "kernel": KernelSurface.self,
    ]
  }

  /// libFuzzer hands no context to its callback, and calls it on one thread.
  nonisolated(unsafe) private static var surface: (any Surface)?

  static func main() throws {
    let option = "--surface="
    let name = CommandLine.arguments.first { $0.hasPrefix(option) }?.dropFirst(option.count)
    guard let type = name.flatMap({ surfaces[String($0)] }) else {
      print("usage: Fuzz \(option)\(surfaces.keys.sorted().joined(separator: "|")) [libFuzzer's options]")
      exit(2)
    }
    surface = try type.init()
    var count = CommandLine.argc
    var arguments = Optional(CommandLine.unsafeArgv)
    exit(
      LLVMFuzzerRunDriver(&count, &arguments) { bytes, count in
        var input = Input(UnsafeRawBufferPointer(start: bytes, count: count))
        // An error is an answer.
        try? Fuzz.surface?.feed(&input)
        return 0
      })
  }
}
