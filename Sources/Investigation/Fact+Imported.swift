// Names of facts that come from texts.

extension Fact {
  /// How the kernel's configuration compares with what the IOMMU and VFIO need: `all as needed`, or what is missing and what
  /// is wrong; said of a list of options rather than a whole configuration, it starts with `excerpt of N options: `.
  public static let configuration = "config"

  /// The content of an imported file, so that it is not taken in twice.
  public static func importedFile(_ name: String) -> String { "imported \(name)" }
}
