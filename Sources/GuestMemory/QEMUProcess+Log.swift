import Glibc

extension QEMUProcess {
  /// The file that this QEMU was told to write its log to (`-D FILE`), as a path from here; nil when it was not.
  public var log: String? {
    Self.log(in: contents(ofProcFile: "/proc/\(pid)/cmdline") ?? "", pid: pid) {
      target(ofLink: "/proc/\(pid)/cwd")
    }
  }

  /// The same for a command line as /proc has it, a NUL behind each word. QEMU takes its options with one minus or two, and the
  /// last of them; `%d` in the name is its process (util/log.c).
  static func log(in commandLine: String, pid: Int32, folder: () -> String?) -> String? {
    let words = commandLine.split(separator: "\0", omittingEmptySubsequences: false)
    guard let option = words.dropLast().lastIndex(where: { $0 == "-D" || $0 == "--D" }), !words[option + 1].isEmpty
    else { return nil }
    let name = String(words[option + 1]).replacing("%d", with: String(pid))
    if name.hasPrefix("/") { return name }
    return folder().map { "\($0)/\(name)" }
  }
}
