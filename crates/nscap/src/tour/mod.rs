pub(crate) fn run(
    _: &crate::cli::Tour,
    _: &mut crate::out::Out,
) -> Result<u8, crate::failure::Failure> {
    Ok(2)
}
