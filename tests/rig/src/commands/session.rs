//! `session FILE [WORD…]`: runs this program with these words, and draws what it prints as a picture in which each line comes
//! when it came. README shows one.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use maud::{Markup, html};

use crate::child::{self, Guard};
use crate::error::{Context, Error, Result};
use crate::judge::Verdict;

/// What a character and a line take of the picture, and what is left free around them, in its units.
const CHARACTER: usize = 8;
const LINE: usize = 19;
const EDGE: usize = 16;
/// As wide as the usual terminal at least, and no wider than anybody reads.
const COLUMNS: [usize; 2] = [80, 160];
/// Lines of a picture that is still one.
const MOST: usize = 100;
/// How long a run may take after its last line.
const END: Duration = Duration::from_secs(60);

/// A line, and when it was whole.
#[derive(Clone, Debug)]
struct Line {
    at: Duration,
    text: String,
}

pub(super) fn run(file: &Path, words: &[OsString]) -> Result<ExitCode> {
    let program = std::env::current_exe().on("find", "this program")?;
    let mut command = Command::new(program);
    let (from, to) = io::pipe().on("make", "a pipe")?;
    let both = to.try_clone().on("make", "a pipe")?;
    command.args(words).stdout(to).stderr(both);
    let mut shown = Command::new("./run.sh");
    let prompt = format!("$ {}", child::line(shown.args(words)));
    let mut child = Guard::spawn(&mut command)?;
    // It has the ends that are written to; the pipe is over when the child has closed its own.
    drop(command);
    let lines = read(from).on("read", "what it prints")?;
    let Some(status) = child.wait(END)? else {
        return Err(Error::unfit(
            format!("it still runs {} s after its last line", END.as_secs()),
            "see what it prints without `session`",
        ));
    };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    if lines.len() > MOST {
        eprintln!("{} has the first {MOST} of {} lines", file.display(), lines.len());
    }
    fs::write(file, draw(&prompt, &lines).into_string()).on("write", file)?;
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Reads to the end, and prints what comes.
fn read(from: impl Read) -> io::Result<Vec<Line>> {
    let start = Instant::now();
    let mut lines = Vec::new();
    for line in BufReader::new(from).split(b'\n') {
        let text = String::from_utf8_lossy(&line?).trim_end().to_owned();
        println!("{text}");
        lines.push(Line { at: start.elapsed(), text });
    }
    Ok(lines)
}

/// The picture. Where nothing moves, by the reader's wish or the viewer's, all of it is there.
fn draw(prompt: &str, lines: &[Line]) -> Markup {
    let lines = &lines[..lines.len().min(MOST)];
    let longest = lines.iter().map(|line| line.text.chars().count()).max().unwrap_or(0);
    let columns = longest.max(prompt.chars().count()).clamp(COLUMNS[0], COLUMNS[1]);
    let (width, height) = (2 * EDGE + columns * CHARACTER, 2 * EDGE + (lines.len() + 1) * LINE);
    let y = |row: usize| EDGE + row * LINE + LINE * 3 / 4;
    html! {
        svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(prompt)
            viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) {
            title { (prompt) }
            style { (maud::PreEscaped(STYLE)) }
            rect width="100%" height="100%" rx="8" fill="#15181d" {}
            text x=(EDGE) y=(y(0)) class="prompt" { (prompt) }
            @for (row, line) in lines.iter().enumerate() {
                text x=(EDGE) y=(y(row + 1)) xml:space="preserve"
                    style=(format!("animation-delay:{:.2}s", line.at.as_secs_f64())) {
                    (coloured(&line.text, columns))
                }
            }
        }
    }
}

const STYLE: &str = "text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d5dae1;white-space:pre;\
    animation:come 1ms both}.prompt{fill:#fff;animation:none}.good{fill:#6fce85}.skip{fill:#e3c04f}.bad{fill:#ff7b72}\
    @keyframes come{from{opacity:0}}@media(prefers-reduced-motion:reduce){text{animation:none}}";

/// A line with its verdict, if it has one, in the verdict's colour.
fn coloured(text: &str, columns: usize) -> Markup {
    let text: String = text.chars().take(columns).collect();
    let found = text.split(' ').find_map(|word| Some((word, Verdict::of_word(word)?)));
    let Some(((before, after), (word, verdict))) =
        found.and_then(|found| Some((text.split_once(found.0)?, found)))
    else {
        return html! { (text) };
    };
    html! { (before) tspan class=(verdict.class()) { (word) } (after) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ms: u64, text: &str) -> Line {
        Line { at: Duration::from_millis(ms), text: text.to_owned() }
    }

    #[test]
    fn each_line_comes_when_it_came_and_is_no_markup() {
        let picture =
            draw("$ ./run.sh", &[line(1250, "a <b> & \"c\""), line(2000, "  x  SKIP  SKIP")]);
        let picture = picture.into_string();
        assert!(picture.contains("animation-delay:1.25s"), "{picture}");
        assert!(picture.contains("a &lt;b&gt; &amp;") && !picture.contains("<b>"), "{picture}");
        assert!(picture.contains("  x  <tspan class=\"skip\">SKIP</tspan>  SKIP"), "{picture}");
    }

    #[test]
    fn a_picture_stays_one_whatever_is_printed() {
        let lines = vec![line(1, &"x".repeat(5000)); 5000];
        let picture = draw("$ ./run.sh", &lines).into_string();
        assert_eq!(picture.matches("<text").count(), MOST + 1);
        assert!(!picture.contains(&"x".repeat(COLUMNS[1] + 1)));
    }

    #[test]
    fn what_is_printed_is_read_to_its_end() {
        let lines = read(&b"one\r\n\xfftwo\nthree"[..]).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["one", "\u{fffd}two", "three"]);
        assert!(lines.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}
