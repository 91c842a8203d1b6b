//! `vestibule completions` and `vestibule man`: the command line's description of itself, for shells and for manuals.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Prints what a shell needs to complete the command line.
pub(super) fn completions(mut command: Command, shell: Shell) -> Result<(), String> {
    let (mut script, name) = (Vec::new(), command.get_name().to_owned());
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

/// Prints the manual page, or writes the page of every command into a folder.
pub(super) fn man(command: Command, folder: Option<&Path>) -> Result<(), String> {
    if let Some(folder) = folder {
        return fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|error| format!("{}: the pages cannot be written: {error}", folder.display()));
    }
    let (mut page, command) = (Vec::new(), command.disable_help_subcommand(true));
    clap_mangen::Man::new(command).render(&mut page).map_err(|error| error.to_string())?;
    print(&page)
}

fn print(text: &[u8]) -> Result<(), String> {
    match io::stdout().write_all(text) {
        // A pager that was left has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("it cannot be printed: {error}")),
        Ok(()) | Err(_) => Ok(()),
    }
}
